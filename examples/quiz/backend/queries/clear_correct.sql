-- $1 bigint: question
UPDATE choices SET correct = false WHERE question_id = $1::bigint AND correct
