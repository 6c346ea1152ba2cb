-- Run each statement by itself, in a database of your own. A day is a partition that needs no crawler.
CREATE EXTERNAL TABLE IF NOT EXISTS sharpwave_lines (
    event_id string,
    state string,
    pk string,
    sk string,
    stored_at double,
    image string
)
PARTITIONED BY (day string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'true')
LOCATION 'ARCHIVE_URL/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.day.type' = 'date',
    'projection.day.format' = 'yyyy-MM-dd',
    'projection.day.range' = '1970-01-01,NOW+2DAYS',
    'storage.location.template' = 'ARCHIVE_URL/day=${day}/'
);

-- Every archived state of a decision, as it was; a line that came twice is there once.
CREATE OR REPLACE VIEW sharpwave_states AS
SELECT DISTINCT
    event_id,
    state,
    day,
    pk,
    sk,
    from_unixtime(stored_at) AS stored_at,
    json_extract_scalar(image, '$.agent_id.S') AS agent_id,
    json_extract_scalar(image, '$.decision_type.S') AS decision_type,
    json_extract_scalar(image, '$.decision_id.S') AS decision_id,
    coalesce(
        json_extract_scalar(image, '$.event_time.S'), json_extract_scalar(image, '$.iso_timestamp.S')
    ) AS event_time,
    coalesce(TRY_CAST(json_extract_scalar(image, '$.outcome_rev.N') AS integer), 1) AS outcome_rev,
    TRY_CAST(json_extract_scalar(image, '$.outcome.M.success.BOOL') AS boolean) AS success,
    TRY_CAST(json_extract_scalar(image, '$.outcome.M.quality_score.N') AS double) AS quality_score,
    json_extract_scalar(image, '$.parent_decision_id.S') AS parent_decision_id,
    image
FROM sharpwave_lines;

-- The state of each decision that stands: of its highest revision failure before success, then quality.
CREATE OR REPLACE VIEW sharpwave_decisions AS
SELECT *
FROM (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY pk, sk
            ORDER BY
                CASE WHEN success IS NULL THEN 0 ELSE outcome_rev END DESC,
                success ASC,
                quality_score DESC NULLS LAST,
                stored_at DESC
        ) AS place
    FROM sharpwave_states
    WHERE state <> 'refusal'
) AS ranked
WHERE place = 1;

-- How an agent did, by type and day.
CREATE OR REPLACE VIEW sharpwave_days AS
SELECT
    agent_id,
    decision_type,
    day,
    count(*) AS decisions,
    count(success) AS resolved,
    count_if(success) AS successes,
    avg(quality_score) AS quality
FROM sharpwave_decisions
GROUP BY agent_id, decision_type, day;
