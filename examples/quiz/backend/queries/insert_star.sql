-- $1 text: user · $2 bigint: question
INSERT INTO stars (user_id, question_id)
SELECT $1::text, id FROM questions WHERE id = $2::bigint AND deleted_at IS NULL
ON CONFLICT DO NOTHING
