-- $1 text: user
SELECT count(*) AS answered, count(*) FILTER (WHERE correct) AS answered_right FROM answers WHERE user_id = $1::text
