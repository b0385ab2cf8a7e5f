-- +goose NO TRANSACTION
-- +goose Up
-- Step 2 of 5: fill `topic` a thousand rows at a time, each batch its own transaction, so that no row stays locked for
-- long and a run that was cut short goes on where it stopped.
-- +goose StatementBegin
DO $$
DECLARE
    filled bigint;
BEGIN
    LOOP
        UPDATE questions SET topic = lower(category)
        WHERE id IN (SELECT id FROM questions WHERE topic IS NULL LIMIT 1000);
        GET DIAGNOSTICS filled = ROW_COUNT;
        EXIT WHEN filled = 0;
        COMMIT;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- dodai: irreversible the values follow from category, which is still there; nothing to take back
