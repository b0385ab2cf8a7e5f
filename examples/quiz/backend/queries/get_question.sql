-- One question with its four choices in order.
-- $1 bigint: question · $2 text: user id or NULL · $3 boolean: even when it is deleted
SELECT
    q.id, q.lang, q.topic, q.prompt, q.explanation, q.author_id,
    EXISTS (SELECT FROM stars s WHERE s.question_id = q.id AND s.user_id = $2::text) AS starred,
    a.answered, a.answered_right, c.choices, c.correct
FROM questions q
CROSS JOIN LATERAL (
    SELECT count(*) AS answered, count(*) FILTER (WHERE correct) AS answered_right
    FROM answers WHERE question_id = q.id
) a
CROSS JOIN LATERAL (
    SELECT array_agg(text ORDER BY position) AS choices, max(position) FILTER (WHERE correct) AS correct
    FROM choices WHERE question_id = q.id
) c
WHERE q.id = $1::bigint AND (q.deleted_at IS NULL OR $3::boolean)
