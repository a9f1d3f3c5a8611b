// The seed's REST contract on the stack that it comes from: Express and openapi-fetch, for Apollo, with nothing else.
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import express from "express";
import createClient from "openapi-fetch";

const apollo = createClient({ baseUrl: `${process.env.UPSTREAM}/api/v1` });
const headers = { "x-api-key": "key-of-the-customer" };
const app = express();
app.use(express.json());

app.patch("/sequences/:sequence_id/sequence_steps/:sequence_step_id", async (request, response) => {
  const { sequence_id, sequence_step_id } = request.params;
  const { template } = request.body.record;
  const read = await apollo.GET("/emailer_campaigns/{id}", { params: { path: { id: sequence_id } }, headers });
  if (read.error) throw new Error(`Apollo answered ${read.response.status}`);
  const step = read.data.emailer_steps.find((each) => each.id === sequence_step_id);
  const touch = read.data.emailer_touches.find((each) => each.emailer_step_id === step.id);
  const present = read.data.emailer_templates.find((each) => each.id === touch.emailer_template_id);
  const written = await apollo.PUT("/emailer_templates/{id}", {
    params: { path: { id: present.id } },
    headers,
    body: { subject: template.subject, body_html: template.body },
  });
  if (written.error) throw new Error(`Apollo answered ${written.response.status}`);
  const stored = written.data.emailer_template;
  response.json({
    errors: [],
    warnings: [],
    changes: [
      { field: "template.subject", before: present.subject, after: stored.subject },
      { field: "template.body", before: present.body_html, after: stored.body_html },
    ],
  });
});

const { TLS_CERTIFICATE, TLS_PRIVATE_KEY, PORT } = process.env;
const server = TLS_CERTIFICATE
  ? https.createServer({ cert: readFileSync(TLS_CERTIFICATE), key: readFileSync(TLS_PRIVATE_KEY) }, app)
  : http.createServer(app);
server.listen(Number(PORT), "127.0.0.1");
