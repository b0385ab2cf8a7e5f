-- What a user wrote (`$2 = 'mine'`) or marked with a star (`$2 = 'starred'`), the newest first.
-- $1 text: user · $2 text: which
SELECT
    q.id, q.lang, q.topic, q.prompt, q.explanation, q.author_id, s.user_id IS NOT NULL AS starred,
    a.answered, a.answered_right
FROM questions q
LEFT JOIN stars s ON s.question_id = q.id AND s.user_id = $1::text
CROSS JOIN LATERAL (
    SELECT count(*) AS answered, count(*) FILTER (WHERE correct) AS answered_right
    FROM answers WHERE question_id = q.id
) a
WHERE q.deleted_at IS NULL
  AND CASE $2::text WHEN 'mine' THEN q.author_id = $1::text ELSE s.user_id IS NOT NULL END
ORDER BY q.id DESC
LIMIT 100
