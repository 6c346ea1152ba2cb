#!/usr/bin/env bash
# A raw agent on the AWS CLI: decide, signal, poll the own queue, acknowledge, delete. Needs jq.
#
#   AWS_ENDPOINT_URL=http://127.0.0.1:4566 ./raw_agent.sh
#
# It registers nothing; an operator added it once with `sharpwave agents add raw-agent`. The signal
# goes to the agent itself, so that one agent shows the whole round.
set -euo pipefail

agent=${AGENT_ID:-raw-agent}
if [[ -n ${AWS_ENDPOINT_URL:-} ]]; then # A local backend takes any credentials.
  export AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-test} AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-test}
  export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1}
fi
export AWS_PAGER=

now=$(date -u +%s)
iso=$(date -u -d "@$now" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$now" +%Y-%m-%dT%H:%M:%SZ)
unique=$now$RANDOM$RANDOM
decision_id=dec_$unique signal_id=sig_$unique

put() { # TABLE PK ID ATTRIBUTES: write a record once; a repeat under the same key changes nothing.
  aws dynamodb put-item --table-name "$1" --condition-expression 'attribute_not_exists(PK)' --item "{
    \"PK\": {\"S\": \"$2\"}, \"SK\": {\"S\": \"$iso#$3\"},
    \"timestamp\": {\"N\": \"$now\"}, \"iso_timestamp\": {\"S\": \"$iso\"},
    \"ttl\": {\"N\": \"$((now + 86400))\"}, $4 }"
}

put agent_decisions "agent:$agent#decision#SOURCE_SELECTION" "$decision_id" "
  \"agent_id\": {\"S\": \"$agent\"}, \"decision_id\": {\"S\": \"$decision_id\"},
  \"decision_type\": {\"S\": \"SOURCE_SELECTION\"},
  \"context\": {\"M\": {\"trend\": {\"S\": \"bullish\"}}}"

# With the sender at its end, IAM can bind the key to the sender; signal#WHALE_ACTIVITY works too.
put agent_signals "signal#WHALE_ACTIVITY#$agent" "$signal_id" "
  \"signal_id\": {\"S\": \"$signal_id\"}, \"signal_type\": {\"S\": \"WHALE_ACTIVITY\"},
  \"source_agent\": {\"S\": \"$agent\"}, \"target_agents\": {\"L\": [{\"S\": \"$agent\"}]},
  \"data\": {\"M\": {\"whale_count\": {\"N\": \"5\"}}}"

# Version 1 of the CLI does not heed AWS_ENDPOINT_URL for SQS.
sqs() { aws sqs ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

queue_url=$(sqs get-queue-url --queue-name "inbox-$agent" --query QueueUrl --output text)
worked=
while [[ -z $worked ]]; do
  message=$(sqs receive-message --queue-url "$queue_url" --wait-time-seconds 20 --output json)
  [[ -n $message ]] || continue
  body=$(jq -r '.Messages[0].Body' <<<"$message")
  if [[ $(jq -r .kind <<<"$body") == signal ]]; then # Other kinds tell of refused records.
    aws dynamodb update-item \
      --table-name "$(jq -r .row.table <<<"$body")" \
      --key "$(jq '.row | {PK: {S: .PK}, SK: {S: .SK}}' <<<"$body")" \
      --update-expression 'SET #status = :status, processed_at = :now, decision_id = :id' \
      --condition-expression 'attribute_exists(PK)' \
      --expression-attribute-names '{"#status": "status"}' \
      --expression-attribute-values "{\":status\": {\"S\": \"PROCESSED\"},
        \":now\": {\"N\": \"$(date -u +%s)\"}, \":id\": {\"S\": \"$decision_id\"}}"
    worked=$body
  fi
  # Only after the acknowledgement: a crash in between hands the message out again.
  sqs delete-message --queue-url "$queue_url" \
    --receipt-handle "$(jq -r '.Messages[0].ReceiptHandle' <<<"$message")"
done

echo "acknowledged $(jq -r .delivery_id <<<"$worked") with $decision_id: $(jq -c .data <<<"$worked")"
