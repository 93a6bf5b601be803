// SPDX-License-Identifier: Apache-2.0
//
// Has the official parser judge an AsyncAPI document: node validate.js FILE EXPECTED
// Errors of any kind fail; EXPECTED is "channels operations messages" as the test counted them. Prints them.
'use strict';

const fs = require('node:fs');
const { Parser, DiagnosticSeverity } = require('@asyncapi/parser');

async function main() {
  const text = fs.readFileSync(process.argv[2], 'utf8');
  const { document, diagnostics } = await new Parser().parse(text);
  const errors = diagnostics.filter((found) => found.severity === DiagnosticSeverity.Error);
  for (const { code, message, path } of errors) console.error(`${code}: ${message} at ${path.join('/')}`);
  if (errors.length > 0 || !document) process.exit(1);
  const counts = [document.channels(), document.operations(), document.components().messages()].map((all) => all.length);
  const payloads = document.components().messages().all().filter((message) => message.hasPayload());
  if (payloads.length !== counts[2]) throw new Error('a message has no payload');
  console.log(counts.join(' '));
  if (process.argv[3] && counts.join(' ') !== process.argv[3]) throw new Error(`expected ${process.argv[3]}`);
}

main().catch((trouble) => {
  console.error(trouble.message);
  process.exit(1);
});
