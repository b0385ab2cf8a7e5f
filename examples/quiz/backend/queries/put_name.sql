-- $1 text: user · $2 text: name
INSERT INTO profiles (user_id, name) VALUES ($1::text, $2::text)
ON CONFLICT (user_id) DO UPDATE SET name = excluded.name, updated_at = now()
