-- +goose Up
-- Step 1 of 5: `category` was free text, `topic` is one of five words. Both exist while releases overlap; the trigger
-- keeps a release that only knows `category` correct.
ALTER TABLE questions ADD COLUMN topic text;

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

-- +goose Down
DROP TRIGGER questions_fill_topic ON questions;
DROP FUNCTION questions_fill_topic();
ALTER TABLE questions DROP COLUMN topic;
