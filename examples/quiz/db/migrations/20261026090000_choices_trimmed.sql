-- +goose Up
-- Editors pasted choices with spaces around them, full-width ones too, so equal choices looked different.
UPDATE choices SET text = btrim(text, E' \t\u3000') WHERE text <> btrim(text, E' \t\u3000');

-- +goose Down
-- dodai: irreversible the spaces around the choices are not kept anywhere
