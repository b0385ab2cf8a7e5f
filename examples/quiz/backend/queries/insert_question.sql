-- $1 text: language · $2 text: topic · $3 text: prompt · $4 text: explanation · $5 text: author
INSERT INTO questions (lang, topic, prompt, explanation, author_id)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::text)
RETURNING id
