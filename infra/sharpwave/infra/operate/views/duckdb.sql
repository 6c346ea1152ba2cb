-- Every archived state of a decision, as it was, one row each; a line that came twice is there once.
CREATE OR REPLACE VIEW states AS
SELECT DISTINCT ON (event_id)
    event_id,
    state,
    day,
    "PK" AS pk,
    "SK" AS sk,
    to_timestamp(stored_at) AS stored_at,
    image ->> '$.agent_id.S' AS agent_id,
    image ->> '$.decision_type.S' AS decision_type,
    image ->> '$.decision_id.S' AS decision_id,
    to_timestamp(TRY_CAST(image ->> '$.timestamp.N' AS DOUBLE)) AS made_at,
    coalesce(image ->> '$.event_time.S', image ->> '$.iso_timestamp.S') AS event_time,
    coalesce(TRY_CAST(image ->> '$.outcome_rev.N' AS INTEGER), 1) AS outcome_rev,
    TRY_CAST(image ->> '$.outcome.M.success.BOOL' AS BOOLEAN) AS success,
    TRY_CAST(image ->> '$.outcome.M.quality_score.N' AS DOUBLE) AS quality_score,
    image ->> '$.parent_decision_id.S' AS parent_decision_id,
    image
FROM read_json(
    'ARCHIVE_URL/day=*/part-*.jsonl.gz',
    format = 'newline_delimited',
    hive_partitioning = true,
    columns = {
        event_id: 'VARCHAR', state: 'VARCHAR', "PK": 'VARCHAR', "SK": 'VARCHAR', stored_at: 'DOUBLE', image: 'JSON'
    }
);

-- The state of each decision that stands: of its highest revision failure before success, then quality.
CREATE OR REPLACE VIEW decisions AS
SELECT * EXCLUDE (state, event_id)
FROM states
WHERE state <> 'refusal'
QUALIFY row_number() OVER (
    PARTITION BY pk, sk
    ORDER BY CASE WHEN success IS NULL THEN 0 ELSE outcome_rev END DESC, success ASC, quality_score DESC, stored_at DESC
) = 1;

-- How an agent did, by type and day.
CREATE OR REPLACE VIEW days AS
SELECT
    agent_id,
    decision_type,
    day,
    count(*) AS decisions,
    count(success) AS resolved,
    count(*) FILTER (success) AS successes,
    avg(quality_score) AS quality
FROM decisions
GROUP BY ALL;
