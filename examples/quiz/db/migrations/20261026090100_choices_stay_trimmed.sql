-- +goose Up
ALTER TABLE choices ADD CONSTRAINT choices_trimmed CHECK (text = btrim(text, E' \t\u3000')) NOT VALID;

-- +goose Down
ALTER TABLE choices DROP CONSTRAINT choices_trimmed;
