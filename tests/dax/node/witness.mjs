// Amazon's JavaScript client for DAX does every data call once and says what came of it.
// The first argument is the cluster's address, the second a table with the keys PK and SK and the
// index GSI over kind and SK.
import { Dax } from '@amazon-dax-sdk/client-dax'

const [, , endpoint, TableName] = process.argv
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
const dax = new Dax({ endpoint, region: 'us-east-1', credentials, maxRetries: 0 })
const said = {}

async function step(name, call) {
  try {
    said[name] = await call()
  } catch (error) {
    said[name] = { error: error.code, reasons: error.cancellationReasons?.map((each) => each.Code) }
  }
}

const key = (number) => ({ PK: { S: 'js' }, SK: { N: String(number) } })
const item = (number) => ({
  ...key(number),
  kind: { S: 'row' },
  text: { S: 'grüße' },
  big: { N: '12345678901234567890123456789012345678' },
  part: { N: '1.25' },
  bytes: { B: Buffer.from([0, 255]) },
  list: { L: [{ S: 'a' }, { NULL: true }, { BOOL: false }] },
  map: { M: { deep: { M: { er: { N: '-1' } } } } },
  words: { SS: ['a', 'b'] },
  numbers: { NS: ['1', '2'] },
})

await step('put', () => dax.putItem({ TableName, Item: item(1) }))
await step('get', () => dax.getItem({ TableName, Key: key(1) }))
await step('project', () =>
  dax.getItem({ TableName, Key: key(1), ProjectionExpression: 'map.deep.er, list[1]' }))
await step('absent', () => dax.getItem({ TableName, Key: key(99) }))
await step('refused', () =>
  dax.putItem({ TableName, Item: item(1), ConditionExpression: 'attribute_not_exists(PK)' }))
await step('update', () =>
  dax.updateItem({
    TableName, Key: key(1), ReturnValues: 'UPDATED_NEW',
    UpdateExpression: 'SET part = part + :one, #list[0] = :text REMOVE bytes ADD numbers :more',
    ConditionExpression: 'size(words) = :two AND NOT contains(#list, :text) AND part BETWEEN :one AND :two',
    ExpressionAttributeNames: { '#list': 'list' },
    ExpressionAttributeValues: {
      ':one': { N: '1' }, ':two': { N: '2' }, ':text': { S: 'x' }, ':more': { NS: ['3'] },
    },
  }))
await step('updated', () =>
  dax.updateItem({
    TableName, Key: key(1), ReturnValues: 'ALL_NEW', UpdateExpression: 'SET seen = :yes',
    ExpressionAttributeValues: { ':yes': { BOOL: true } },
  }))
await step('batchWrite', () =>
  dax.batchWriteItem({
    RequestItems: { [TableName]: [2, 3, 4].map((each) => ({ PutRequest: { Item: item(each) } })) },
  }))
await step('batchGet', () =>
  dax.batchGetItem({ RequestItems: { [TableName]: { Keys: [2, 3, 99].map(key) } } }))
const wish = {
  TableName, Limit: 2, KeyConditionExpression: 'PK = :pk',
  ExpressionAttributeValues: { ':pk': { S: 'js' } },
}
await step('page', () => dax.query(wish))
await step('next', () => dax.query({ ...wish, ExclusiveStartKey: said.page.LastEvaluatedKey }))
const byKind = {
  TableName, IndexName: 'GSI', Limit: 3, KeyConditionExpression: 'kind = :kind',
  ProjectionExpression: 'SK, map.deep', ExpressionAttributeValues: { ':kind': { S: 'row' } },
}
await step('index', () => dax.query(byKind))
await step('indexNext', () =>
  dax.query({ ...byKind, ExclusiveStartKey: said.index.LastEvaluatedKey }))
await step('scan', () =>
  dax.scan({
    TableName, FilterExpression: 'part > :one OR begins_with(#text, :g)', Select: 'COUNT',
    ExpressionAttributeNames: { '#text': 'text' },
    ExpressionAttributeValues: { ':one': { N: '9' }, ':g': { S: 'grü' } },
  }))
await step('transactWrite', () =>
  dax.transactWriteItems({
    TransactItems: [
      { Put: { TableName, Item: item(5) } },
      {
        Update: {
          TableName, Key: key(4), UpdateExpression: 'SET part = :one',
          ExpressionAttributeValues: { ':one': { N: '1' } },
        },
      },
      { Delete: { TableName, Key: key(3) } },
      { ConditionCheck: { TableName, Key: key(2), ConditionExpression: 'attribute_exists(PK)' } },
    ],
  }))
await step('transactGet', () =>
  dax.transactGetItems({
    TransactItems: [
      { Get: { TableName, Key: key(5) } },
      { Get: { TableName, Key: key(3) } },
      { Get: { TableName, Key: key(4), ProjectionExpression: 'part' } },
    ],
  }))
await step('cancelled', () =>
  dax.transactWriteItems({
    TransactItems: [
      { Put: { TableName, Item: item(6) } },
      { ConditionCheck: { TableName, Key: key(2), ConditionExpression: 'attribute_not_exists(PK)' } },
    ],
  }))
await step('delete', () =>
  dax.deleteItem({ TableName, Key: key(2), ReturnValues: 'ALL_OLD' }))
await step('noTable', () => dax.getItem({ TableName: 'no-such-table', Key: key(1) }))
console.log(JSON.stringify(said))
process.exit(0)
