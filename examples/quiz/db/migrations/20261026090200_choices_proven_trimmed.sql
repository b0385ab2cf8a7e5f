-- +goose Up
ALTER TABLE choices VALIDATE CONSTRAINT choices_trimmed;

-- +goose Down
ALTER TABLE choices DROP CONSTRAINT choices_trimmed;
ALTER TABLE choices ADD CONSTRAINT choices_trimmed CHECK (text = btrim(text, E' \t\u3000')) NOT VALID;
