// src/client.ts of github.com/nubo-db/dynamodb-conformance with data calls sent through DAX:
// Amazon's client for DAX has no send(), and its errors carry their name in `code`.
import * as dynamodb from '@aws-sdk/client-dynamodb'
import { DynamoDBStreamsClient } from '@aws-sdk/client-dynamodb-streams'
// @ts-ignore: its types follow another version of the SDK
import { Dax } from '@amazon-dax-sdk/client-dax'

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
const region = 'us-east-1'
const config = { endpoint: process.env.DYNAMODB_ENDPOINT, region, credentials }
const dax = new Dax({ endpoint: process.env.DAX_ENDPOINT, region, credentials, maxRetries: 0 })
const client = new dynamodb.DynamoDBClient(config)

const DATA = new Set([
  'GetItem', 'PutItem', 'UpdateItem', 'DeleteItem', 'Query', 'Scan',
  'BatchGetItem', 'BatchWriteItem', 'TransactGetItems', 'TransactWriteItems',
])

// It takes bytes as Buffers only.
function buffered(value: any): any {
  if (value instanceof Uint8Array) return Buffer.from(value)
  if (Array.isArray(value)) return value.map(buffered)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, buffered(each)]))
}

export const ddb = {
  async send(command: any): Promise<any> {
    const name = command.constructor.name.replace(/Command$/, '')
    if (!DATA.has(name)) return client.send(command)
    try {
      return await (dax as any)[name[0].toLowerCase() + name.slice(1)](buffered(command.input))
    } catch (error: any) {
      const code = error.code ?? error.name
      const Kind = (dynamodb as any)[code] ?? dynamodb.DynamoDBServiceException
      const $metadata = { httpStatusCode: error.statusCode }
      const message = error._message ?? error.message.replace(`${code}: `, '')
      throw new Kind({
        name: code, message, $fault: 'client', $metadata,
        CancellationReasons: error.cancellationReasons,
      })
    }
  },
  destroy() {},
} as unknown as dynamodb.DynamoDBClient

export const ddbStreams = new DynamoDBStreamsClient(config)
