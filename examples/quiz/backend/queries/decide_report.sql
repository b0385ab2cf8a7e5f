-- Decides a report once. A row comes back when the report exists: what stands decided now, and for which question.
-- $1 bigint: report · $2 text: decision
WITH decided AS (
    UPDATE reports SET decision = $2::text, decided_at = now()
    WHERE id = $1::bigint AND decision IS NULL
    RETURNING question_id, decision
)
SELECT question_id, decision FROM decided
UNION ALL
SELECT question_id, decision FROM reports
WHERE id = $1::bigint AND NOT EXISTS (SELECT FROM decided)
