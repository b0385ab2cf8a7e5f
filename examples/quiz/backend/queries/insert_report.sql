-- $1 bigint: question · $2 text: reason · $3 text: user id or NULL
INSERT INTO reports (question_id, reason, reporter_id)
SELECT id, $2::text, $3::text FROM questions WHERE id = $1::bigint AND deleted_at IS NULL
RETURNING id
