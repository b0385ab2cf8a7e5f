-- $1 bigint: question · $2 text: language · $3 text: topic · $4 text: prompt · $5 text: explanation · $6 text: author
UPDATE questions
SET lang = $2::text, topic = $3::text, prompt = $4::text, explanation = $5::text, updated_at = now()
WHERE id = $1::bigint AND author_id = $6::text AND deleted_at IS NULL
RETURNING id
