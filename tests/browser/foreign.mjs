// A page of another site does its worst to TARGETS (a comma list of origins that say `alice` of everybody). FOREIGN is the
// other site's port. Prints which attempts were made. The test reads from vestibule's log what became of them.
import http from 'node:http';
import { env, launch } from './lib.mjs';

const hosts = '--host-resolver-rules=MAP llm.test 127.0.0.1, MAP evil.test 127.0.0.1';
const made = [];
const page = (target, path) => `<!doctype html><title>evil</title><body>
<img src="${target}${path}?from=img"><iframe src="${target}${path}?from=iframe"></iframe>
<form id="form" method="post" enctype="text/plain" target="there" action="${target}${path}?from=form"><input name="{&quot;a" value="b&quot;:1}"></form>
<iframe name="there"></iframe><a id="link" href="${target}${path}?from=link">go</a>
<script>
  document.getElementById('form').submit();
  fetch('${target}${path}?from=fetch', { mode: 'no-cors', credentials: 'include', method: 'POST', body: '{}' }).catch(() => {});
  fetch('${target}${path}?from=cors', { credentials: 'include' }).then(() => { window.read = true; }).catch(() => {});
  new EventSource('${target}${path}?from=eventsource', { withCredentials: true });
  new WebSocket('${target.replace('http', 'ws')}${path}?from=websocket');
</script>`;
const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://evil.test');
  if (!url.searchParams.has('target')) return response.writeHead(404).end();
  response.writeHead(200, { 'content-type': 'text/html' }).end(page(url.searchParams.get('target'), url.searchParams.get('path')));
});
await new Promise((ready) => server.listen(Number(env('FOREIGN')), '127.0.0.1', ready));
const browser = await launch(hosts, '--ignore-certificate-errors', '--allow-running-insecure-content');
let read = false;
try {
  for (const target of env('TARGETS').split(',')) {
    for (const path of ['/health', '/v1/chat/completions', '/key/generate', '/vestibule/logout']) {
      const tab = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
      await tab.goto(`http://evil.test:${env('FOREIGN')}/?target=${encodeURIComponent(target)}&path=${encodeURIComponent(path)}`);
      await tab.waitForLoadState('networkidle').catch(() => {});
      read ||= await tab.evaluate(() => window.read === true);
      await tab.click('#link', { noWaitAfter: true });
      await tab.waitForURL(/from=link/, { timeout: 20000 }).catch(() => {});
      made.push(`${target}${path}`);
    }
  }
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify({ made, read }));
