-- The question to go on with: one the user has not answered before one that was, then the next one down the list.
-- $1 text: language · $2 bigint: the question just seen, 0 for none · $3 text: user id or NULL
SELECT q.id
FROM questions q
WHERE q.lang = $1::text AND q.deleted_at IS NULL
ORDER BY
    q.id = $2::bigint,
    EXISTS (SELECT FROM answers a WHERE a.question_id = q.id AND a.user_id = $3::text),
    $2::bigint > 0 AND q.id > $2::bigint,
    q.id DESC
LIMIT 1
