import { randomUUID } from 'node:crypto';
import type { IDataObject, IExecuteFunctions, INodeProperties } from 'n8n-workflow';
import { limits, locator, type Operation, type Resource, segment, shownFor, text } from '../fields';
import { many } from '../lists';
import { request } from '../transport';
import { binaryOf, upload } from '../uploads';
import { Started } from '../waiting';

const BASE = '/v1/fine_tuning/jobs';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['job'] } },
		default: 'create',
		options: [
			{
				name: 'Cancel',
				value: 'cancel',
				action: 'Cancel a job',
				description: 'Stop the job for good and free the machine',
			},
			{
				name: 'Create',
				value: 'create',
				action: 'Create a job',
				description:
					'Fine-tune a base model on a file of examples; the result gets a new name and never replaces a live model',
			},
			{
				name: 'Get',
				value: 'get',
				action: 'Get a job',
				description: 'Get the status of a job and the name of the tuned model',
			},
			{
				name: 'Get Events',
				value: 'getEvents',
				action: 'Get the events of a job',
				description: 'What happened in a job, newest first, with training metrics',
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many jobs',
				description: 'List fine-tuning jobs, newest first',
			},
			{
				name: 'Pause',
				value: 'pause',
				action: 'Pause a job',
				description: 'Save a checkpoint and free the machine; nothing is lost',
			},
			{
				name: 'Resume',
				value: 'resume',
				action: 'Resume a job',
				description: 'Go on with a paused or failed job, from its last checkpoint',
			},
		],
	},
	locator(
		{
			name: 'jobId',
			displayName: 'Job',
			description: 'The job, by the ID that creating it returned (it starts with ftjob-)',
			placeholder: 'ftjob-0123456789ab',
			search: 'searchJobs',
		},
		shownFor('job', 'get', 'cancel', 'pause', 'resume', 'getEvents'),
	),
	{
		displayName: 'Base Model',
		name: 'baseModel',
		type: 'string',
		default: 'smollm2-135m-instruct',
		required: true,
		description: 'What is tuned: a packaged ID, a folder of TUNESMITH_MODELS, or a hub ID',
		displayOptions: shownFor('job', 'create'),
	},
	{
		displayName: 'Examples From',
		name: 'examplesFrom',
		type: 'options',
		default: 'binary',
		options: [
			{ name: 'Binary Field', value: 'binary', description: 'A JSONL file in the input item' },
			{ name: 'Uploaded File', value: 'file', description: 'A file that Tunesmith has already' },
		],
		description:
			'Where the training examples are (ShareGPT or chat messages, one JSON object per line)',
		displayOptions: shownFor('job', 'create'),
	},
	{
		displayName: 'Input Binary Field',
		name: 'binaryField',
		type: 'string',
		default: 'data',
		required: true,
		hint: 'The name of the input binary field that holds the file',
		displayOptions: {
			show: { resource: ['job'], operation: ['create'], examplesFrom: ['binary'] },
		},
	},
	{
		displayName: 'File ID',
		name: 'fileId',
		type: 'string',
		default: '',
		required: true,
		placeholder: 'file-0123456789ab',
		description: 'ID of the uploaded training file',
		displayOptions: { show: { resource: ['job'], operation: ['create'], examplesFrom: ['file'] } },
	},
	{
		displayName: 'Additional Fields',
		name: 'additionalFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: shownFor('job', 'create'),
		options: [
			{
				displayName: 'Batch Size',
				name: 'batch_size',
				type: 'number',
				default: 8,
				description: 'Chosen from the data and the machine when left out',
			},
			{
				displayName: 'Epochs',
				name: 'n_epochs',
				type: 'number',
				default: 3,
				description: 'Chosen from the data and the machine when left out',
			},
			{
				displayName: 'Idempotency Key',
				name: 'idempotencyKey',
				type: 'string',
				default: '',
				description: 'The same key gives the same job again instead of a second one',
			},
			{
				displayName: 'Learning Rate Multiplier',
				name: 'learning_rate_multiplier',
				type: 'number',
				default: 1,
				typeOptions: { numberPrecision: 3 },
				description: 'Chosen from the data and the machine when left out',
			},
			{ displayName: 'Seed', name: 'seed', type: 'number', default: 0 },
			{
				displayName: 'Suffix',
				name: 'suffix',
				type: 'string',
				default: '',
				placeholder: 'receipts',
				description: "Part of the new model's name, which becomes ft-SUFFIX-ID",
			},
			{
				displayName: 'Validation File ID',
				name: 'validation_file',
				type: 'string',
				default: '',
				description: 'ID of an uploaded file whose rows are only for validation',
			},
		],
	},
	...limits('job', 'getAll', 'getEvents'),
];

async function create(context: IExecuteFunctions, i: number) {
	const { idempotencyKey, n_epochs, batch_size, learning_rate_multiplier, ...more } =
		context.getNodeParameter('additionalFields', i, {}) as IDataObject;
	const file =
		context.getNodeParameter('examplesFrom', i) === 'file'
			? text(context, 'fileId', i)
			: (
					await upload(context, i, '/v1/files', await binaryOf(context, i), {
						purpose: 'fine-tune',
					})
				).id;
	const given = Object.entries({ n_epochs, batch_size, learning_rate_multiplier });
	const job: IDataObject = await request(context, 'POST', BASE, {
		body: {
			model: text(context, 'baseModel', i),
			training_file: file,
			hyperparameters: Object.fromEntries(given.filter(([, value]) => value !== undefined)),
			...Object.fromEntries(Object.entries(more).filter(([, value]) => value !== '')),
		},
		headers: { 'Idempotency-Key': (idempotencyKey as string) || randomUUID() },
		itemIndex: i,
	});
	return startedBy(job);
}

const startedBy = (job: IDataObject) => new Started(String(job.run_id), `${BASE}/${job.id}`, job);

const post =
	(action: string): Operation =>
	async (context, i) =>
		await request(context, 'POST', `${BASE}/${segment(context, 'jobId', i)}/${action}`, {
			itemIndex: i,
		});

export const job: Resource = {
	properties,
	operations: {
		create,
		get: async (context, i) =>
			await request(context, 'GET', `${BASE}/${segment(context, 'jobId', i)}`, { itemIndex: i }),
		getAll: async (context, i) => await many(context, i, BASE),
		getEvents: async (context, i) =>
			await many(context, i, `${BASE}/${segment(context, 'jobId', i)}/events`),
		cancel: post('cancel'),
		pause: post('pause'),
		resume: async (context, i) => startedBy((await post('resume')(context, i)) as IDataObject),
	},
};
