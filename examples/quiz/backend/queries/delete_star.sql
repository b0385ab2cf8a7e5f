-- $1 text: user · $2 bigint: question
DELETE FROM stars WHERE user_id = $1::text AND question_id = $2::bigint
