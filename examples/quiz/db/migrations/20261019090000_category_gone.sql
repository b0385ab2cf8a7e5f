-- +goose Up
-- Step 5 of 5, a release later.
-- dodai: accept DOD215 the last release that read or wrote category was retired with the release before this one
ALTER TABLE questions DROP COLUMN category;

-- +goose Down
ALTER TABLE questions ADD COLUMN category text;
UPDATE questions SET category = initcap(topic);
