-- How a user did on each of the last fourteen days, as days are counted in Japan; days without an answer are left out.
-- $1 text: user
SELECT to_char(answered_at AT TIME ZONE 'Asia/Tokyo', 'YYYY-MM-DD') AS day,
       count(*) AS answered, count(*) FILTER (WHERE correct) AS answered_right
FROM answers
WHERE user_id = $1::text
  AND answered_at >= (date_trunc('day', now() AT TIME ZONE 'Asia/Tokyo') - interval '13 days') AT TIME ZONE 'Asia/Tokyo'
GROUP BY day
ORDER BY day
