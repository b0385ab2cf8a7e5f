-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS answers_by_user ON answers (user_id, answered_at DESC) WHERE user_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS questions_by_author ON questions (author_id) WHERE author_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS reports_open ON reports (question_id) WHERE decision IS NULL;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS reports_open;
DROP INDEX CONCURRENTLY IF EXISTS questions_by_author;
DROP INDEX CONCURRENTLY IF EXISTS answers_by_user;
