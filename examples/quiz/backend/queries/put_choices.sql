-- Replaces the four choices of a question. The unique index allows one correct choice at every moment, so the old one
-- is cleared first (clear_correct.sql).
-- $1 bigint: question · $2 text[]: four texts in order · $3 int: the correct one, 1 to 4
INSERT INTO choices (question_id, position, text, correct)
SELECT $1::bigint, choice.position, choice.text, choice.position = $3::int
FROM unnest($2::text[]) WITH ORDINALITY AS choice (text, position)
ON CONFLICT (question_id, position) DO UPDATE SET text = excluded.text, correct = excluded.correct
