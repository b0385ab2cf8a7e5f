-- The answer stored for an attempt.
-- $1 uuid: attempt
SELECT question_id, position, correct FROM answers WHERE attempt = $1::uuid
