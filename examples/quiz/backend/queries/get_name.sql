-- $1 text: user
SELECT name FROM profiles WHERE user_id = $1::text
