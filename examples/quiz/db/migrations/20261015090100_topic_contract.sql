-- +goose Up
-- Step 4 of 5: the old rows are read under a lock that stops nobody from writing; SET NOT NULL then finds its proof in
-- the check instead of reading the table again.
ALTER TABLE questions VALIDATE CONSTRAINT questions_topic_known;
ALTER TABLE questions ALTER COLUMN topic SET NOT NULL;
ALTER TABLE questions ALTER COLUMN category DROP NOT NULL;
DROP TRIGGER questions_fill_topic ON questions;
DROP FUNCTION questions_fill_topic();

-- +goose Down
-- +goose StatementBegin
CREATE FUNCTION questions_fill_topic() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.topic := coalesce(NEW.topic, lower(NEW.category));
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER questions_fill_topic BEFORE INSERT OR UPDATE ON questions
    FOR EACH ROW EXECUTE FUNCTION questions_fill_topic();
UPDATE questions SET category = initcap(topic) WHERE category IS NULL;
ALTER TABLE questions ALTER COLUMN category SET NOT NULL;
ALTER TABLE questions ALTER COLUMN topic DROP NOT NULL;
ALTER TABLE questions DROP CONSTRAINT questions_topic_known;
ALTER TABLE questions ADD CONSTRAINT questions_topic_known
    CHECK (topic IS NOT NULL AND topic IN ('art', 'history', 'places', 'science', 'words')) NOT VALID;
