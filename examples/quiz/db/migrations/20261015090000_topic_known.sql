-- +goose Up
-- Step 3 of 5: new rows are held to the five words from here on; NOT VALID leaves the old ones unread, so the lock is
-- gone at once.
ALTER TABLE questions ADD CONSTRAINT questions_topic_known
    CHECK (topic IS NOT NULL AND topic IN ('art', 'history', 'places', 'science', 'words')) NOT VALID;

-- +goose Down
ALTER TABLE questions DROP CONSTRAINT questions_topic_known;
