-- Stores an attempt once; no row comes back when it is there already.
-- $1 uuid: attempt · $2 bigint: question · $3 smallint: position · $4 text: user id or NULL
INSERT INTO answers (attempt, question_id, position, correct, user_id)
SELECT $1::uuid, c.question_id, c.position, c.correct, $4::text
FROM choices c
JOIN questions q ON q.id = c.question_id AND q.deleted_at IS NULL
WHERE c.question_id = $2::bigint AND c.position = $3::smallint
ON CONFLICT (attempt) DO NOTHING
RETURNING question_id, position, correct
