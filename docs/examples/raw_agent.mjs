// A raw agent on the AWS SDK for JavaScript: decide, signal, poll the own queue, acknowledge, delete.
//
//   npm install @aws-sdk/client-dynamodb @aws-sdk/client-sqs
//   AWS_ENDPOINT_URL=http://127.0.0.1:4566 node raw_agent.mjs
//
// It registers nothing; an operator added it once with `sharpwave agents add raw-agent`. The signal
// goes to the agent itself, so that one agent shows the whole round.
import { randomUUID } from "node:crypto";
import { DynamoDBClient, PutItemCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import {
  DeleteMessageCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";

const agent = process.env.AGENT_ID ?? "raw-agent";
if (process.env.AWS_ENDPOINT_URL) {
  // A local backend takes any credentials.
  process.env.AWS_ACCESS_KEY_ID ??= "test";
  process.env.AWS_SECRET_ACCESS_KEY ??= "test";
  process.env.AWS_REGION ??= "us-east-1";
}
const dynamodb = new DynamoDBClient();
const sqs = new SQSClient({ useQueueUrlAsEndpoint: false });

// Writes a record once: a repeat under the same key changes nothing.
async function put(table, pk, id, attributes) {
  const iso = new Date().toISOString();
  const timestamp = Math.floor(Date.parse(iso) / 1000);
  const Item = {
    PK: { S: pk },
    SK: { S: `${iso}#${id}` },
    timestamp: { N: `${timestamp}` },
    iso_timestamp: { S: iso },
    ttl: { N: `${timestamp + 86_400}` },
    ...attributes,
  };
  const ConditionExpression = "attribute_not_exists(PK)";
  await dynamodb.send(new PutItemCommand({ TableName: table, Item, ConditionExpression }));
}

// Reads JSON as JSON.parse does, but keeps as text each number that would lose digits: those of more
// than 15 that are no safe integer. BigInt(text), or a decimal library, calculates with them.
function parse(json) {
  const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  const isExact = (token) =>
    token.replace(/[eE].*|\D/g, "").replace(/^0+/, "").length <= 15 ||
    Number.isSafeInteger(Number(token));
  return JSON.parse(
    json.replace(tokens, (token) => (token[0] === '"' || isExact(token) ? token : `"${token}"`)),
  );
}

const decisionId = `dec_${randomUUID()}`;
const signalId = `sig_${randomUUID()}`;
await put("agent_decisions", `agent:${agent}#decision#SOURCE_SELECTION`, decisionId, {
  agent_id: { S: agent },
  decision_id: { S: decisionId },
  decision_type: { S: "SOURCE_SELECTION" },
  context: { M: { trend: { S: "bullish" } } },
});
// With the sender at its end, IAM can bind the key to the sender; signal#WHALE_ACTIVITY works too.
await put("agent_signals", `signal#WHALE_ACTIVITY#${agent}`, signalId, {
  signal_id: { S: signalId },
  signal_type: { S: "WHALE_ACTIVITY" },
  source_agent: { S: agent },
  target_agents: { L: [{ S: agent }] },
  data: { M: { whale_count: { N: "5" }, order_id: { N: "9007199254740993" } } },
});

const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: `inbox-${agent}` }));
let worked;
while (!worked) {
  const asked = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 20 };
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(asked));
  for (const { Body, ReceiptHandle } of Messages) {
    const body = parse(Body);
    if (body.kind === "signal") {
      // Other kinds tell of refused records; here they are dropped.
      const { table, PK, SK } = body.row;
      await dynamodb.send(
        new UpdateItemCommand({
          TableName: table,
          Key: { PK: { S: PK }, SK: { S: SK } },
          UpdateExpression: "SET #status = :status, processed_at = :now, decision_id = :id",
          ConditionExpression: "attribute_exists(PK)",
          ExpressionAttributeNames: { "#status": "status" },
          ExpressionAttributeValues: {
            ":status": { S: "PROCESSED" },
            ":now": { N: `${Math.floor(Date.now() / 1000)}` },
            ":id": { S: decisionId },
          },
        }),
      );
      worked = body;
    }
    // Only after the acknowledgement: a crash in between hands the message out again.
    await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
  }
}
console.log(`acknowledged ${worked.delivery_id} with ${decisionId}: ${JSON.stringify(worked.data)}`);
