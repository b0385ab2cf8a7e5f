-- Questions of one language and topic, the newest first.
-- $1 text: language · $2 text: topic, empty for all · $3 text: user id or NULL
SELECT
    q.id, q.lang, q.topic, q.prompt, q.explanation, q.author_id,
    EXISTS (SELECT FROM stars s WHERE s.question_id = q.id AND s.user_id = $3::text) AS starred,
    a.answered, a.answered_right
FROM questions q
CROSS JOIN LATERAL (
    SELECT count(*) AS answered, count(*) FILTER (WHERE correct) AS answered_right
    FROM answers WHERE question_id = q.id
) a
WHERE q.lang = $1::text AND ($2::text = '' OR q.topic = $2::text) AND q.deleted_at IS NULL
ORDER BY q.id DESC
LIMIT 100
