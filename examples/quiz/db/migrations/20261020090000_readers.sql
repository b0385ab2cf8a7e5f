-- +goose Up
CREATE TABLE profiles (
    user_id    text PRIMARY KEY CHECK (char_length(user_id) BETWEEN 1 AND 255),
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 40),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE stars (
    user_id     text NOT NULL CHECK (char_length(user_id) BETWEEN 1 AND 255),
    question_id bigint NOT NULL REFERENCES questions (id) ON DELETE CASCADE,
    starred_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, question_id)
);

CREATE TABLE reports (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    question_id bigint NOT NULL REFERENCES questions (id) ON DELETE CASCADE,
    reason      text NOT NULL CHECK (reason IN ('wrong', 'unclear', 'unkind')),
    reporter_id text CHECK (char_length(reporter_id) BETWEEN 1 AND 255),
    reported_at timestamptz NOT NULL DEFAULT now(),
    -- NULL while the review desk has not decided.
    decision    text CHECK (decision IN ('keep', 'withdraw')),
    decided_at  timestamptz,
    CHECK ((decision IS NULL) = (decided_at IS NULL))
);

-- +goose Down
DROP TABLE reports;
DROP TABLE stars;
DROP TABLE profiles;
