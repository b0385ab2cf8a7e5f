-- +goose NO TRANSACTION
-- +goose Up
-- "How many got this right" is asked for every question shown; the table is written to all day, so the index must not
-- block it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS answers_by_question ON answers (question_id) INCLUDE (correct);

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS answers_by_question;
