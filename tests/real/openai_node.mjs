// The `openai` package of Node against us, unmodified: node openai_node.mjs <folder with node_modules> <base URL> <key> <rows file>.
// Prints what it saw as one JSON object; any error ends it with a status other than 0.

import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';

const [folder, baseURL, apiKey, rows] = process.argv.slice(2);
const { default: OpenAI, NotFoundError, AuthenticationError } = createRequire(`${folder}/`)('openai');
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const file = await client.files.create({ file: createReadStream(rows), purpose: 'fine-tune' });
assert.equal((await client.files.retrieve(file.id)).id, file.id);
assert.equal((await (await client.files.content(file.id)).text()).length, file.bytes);
const files = [];
for await (const one of client.files.list({ limit: 1 })) files.push(one.id);
assert(files.includes(file.id));

const { jobs } = client.fineTuning;
const create = async (suffix, n_epochs) =>
	await jobs.create({
		model: 'tiny',
		training_file: file.id,
		suffix,
		seed: 7,
		metadata: { by: 'node' },
		method: { type: 'supervised', supervised: { hyperparameters: { n_epochs, batch_size: 4 } } },
	});
const until = async (id, ...wanted) => {
	for (;;) {
		const job = await jobs.retrieve(id);
		if (wanted.includes(job.status)) return job;
		assert(!['failed', 'cancelled'].includes(job.status), JSON.stringify(job.error));
		await sleep(300);
	}
};

const cancelled = await create('cancelled', 50);
assert.equal((await jobs.cancel(cancelled.id)).status, 'cancelled');

const made = await create('node', 2);
assert.deepEqual([made.object, made.seed, made.metadata], ['fine_tuning.job', 7, { by: 'node' }]);
assert.equal((await jobs.pause(made.id)).status, 'paused');
for (let waited = 0; ; waited++) {
	try {
		await jobs.resume(made.id); // refused while a checkpoint is still being saved
		break;
	} catch (error) {
		assert(error.status === 409 && waited < 100, error.message);
		await sleep(300);
	}
}
const done = await until(made.id, 'succeeded');
assert.equal(done.hyperparameters.n_epochs, 2);

const pages = [];
for await (const job of jobs.list({ limit: 1 })) pages.push(job.id); // over several pages
assert(pages.includes(made.id) && pages.includes(cancelled.id));
const events = [];
for await (const event of jobs.listEvents(made.id, { limit: 5 })) events.push(event);
assert(events.some(({ type }) => type === 'metrics'));
const checkpoints = await jobs.checkpoints.list(made.id);
assert(checkpoints.data.every(({ fine_tuning_job_id }) => fine_tuning_job_id === made.id));

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert(models.includes(done.fine_tuned_model));
const asked = {
	model: done.fine_tuned_model,
	messages: [{ role: 'user', content: 'Corner Books\nitem 7\nTOTAL 12.34' }],
	temperature: 0,
};
const whole = await client.chat.completions.create(asked);
let streamed = '';
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
	streamed += chunk.choices[0]?.delta?.content ?? '';
}

await assert.rejects(jobs.retrieve('ftjob-000000000000'), NotFoundError);
await assert.rejects(new OpenAI({ baseURL, apiKey: 'wrong' }).models.list(), AuthenticationError);
assert.equal((await client.files.delete(file.id)).deleted, true);

console.log(
	JSON.stringify({
		model: done.fine_tuned_model,
		whole: whole.choices[0].message.content,
		streamed,
		checkpoints: checkpoints.data.length,
	}),
);
