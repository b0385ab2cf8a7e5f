-- The last twenty answers of a user.
-- $1 text: user
SELECT a.question_id, q.prompt, a.correct, extract(epoch FROM a.answered_at)::bigint AS answered_at,
       q.deleted_at IS NOT NULL AS deleted
FROM answers a
JOIN questions q ON q.id = a.question_id
WHERE a.user_id = $1::text
ORDER BY a.answered_at DESC, a.id DESC
LIMIT 20
