// fauxqs's own command listens on every interface; this listens on loopback only.
import { buildApp } from "fauxqs";

const app = buildApp({ logger: false });
process.on("SIGTERM", () => app.close().then(() => process.exit(0)));
await app.listen({ port: Number(process.argv[2]), host: "127.0.0.1" });
