import type { IDataObject, IExecuteFunctions, INodeProperties } from 'n8n-workflow';
import { limits, modelLocator, type Resource, segment, shownFor, text } from '../fields';
import { whole } from '../lists';
import { request } from '../transport';
import { asBinary } from '../uploads';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['model'] } },
		default: 'try',
		options: [
			{
				name: 'Download Artefact',
				value: 'download',
				action: 'Download an artefact of a model',
				description: 'Get a file of a version: its adapter, GGUF, card or report',
			},
			{
				name: 'Get',
				value: 'get',
				action: 'Get a model',
				description: 'Get the live version of a model, with what was measured of it',
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many models',
				description: 'List the models that are live',
			},
			{
				name: 'Get Versions',
				value: 'getVersions',
				action: 'Get the versions of a model',
				description: 'List all versions of a model, newest first, with what was measured of each',
			},
			{
				name: 'Publish Version',
				value: 'publish',
				action: 'Publish a version of a model',
				description: 'Put a version that has passed its gate live',
			},
			{
				name: 'Roll Back',
				value: 'rollBack',
				action: 'Roll back a model',
				description: 'Put the version before the live one live again',
			},
			{
				name: 'Try',
				value: 'try',
				action: 'Try a model',
				description: 'Ask a model one question, such as the text of a document, and get its answer',
			},
		],
	},
	modelLocator(shownFor('model', 'download', 'get', 'getVersions', 'publish', 'rollBack', 'try')),
	{
		displayName: 'Version',
		name: 'version',
		type: 'string',
		default: '',
		required: true,
		placeholder: 'run-0123456789ab',
		description: 'The version to put live, as Get Versions lists it',
		displayOptions: shownFor('model', 'publish'),
	},
	{
		displayName: 'Version',
		name: 'version',
		type: 'string',
		default: 'latest',
		required: true,
		description: 'One of the versions that Get Versions lists; latest is the live one',
		displayOptions: shownFor('model', 'download'),
	},
	{
		displayName: 'Artefact',
		name: 'artifact',
		type: 'options',
		default: 'gguf',
		options: [
			{
				name: 'Adapter',
				value: 'adapter',
				description: 'The LoRA adapter as PEFT reads it, in a ZIP',
			},
			{
				name: 'Card',
				value: 'card',
				description: 'What the version is and how good it is, in Markdown',
			},
			{ name: 'GGUF', value: 'gguf', description: 'The model as it is served' },
			{ name: 'Report', value: 'report', description: 'All that was measured, as JSON' },
		],
		description: 'The file to download',
		displayOptions: shownFor('model', 'download'),
	},
	{
		displayName: 'Put Output File in Field',
		name: 'binaryField',
		type: 'string',
		default: 'data',
		required: true,
		hint: 'The name of the output binary field to put the file in',
		displayOptions: shownFor('model', 'download'),
	},
	{
		displayName: 'Message',
		name: 'message',
		type: 'string',
		typeOptions: { rows: 4 },
		default: '',
		required: true,
		description: 'What the model is asked: for an extraction, the text of the document',
		displayOptions: shownFor('model', 'try'),
	},
	{
		displayName: 'Options',
		name: 'options',
		type: 'collection',
		placeholder: 'Add Option',
		default: {},
		displayOptions: shownFor('model', 'try'),
		options: [
			{
				displayName: 'Maximum Tokens',
				name: 'max_tokens',
				type: 'number',
				default: 512,
				typeOptions: { minValue: 1 },
				description: 'The longest answer',
			},
			{
				displayName: 'System Message',
				name: 'system',
				type: 'string',
				default: '',
				description: 'Leave it out: a tuned model brings the one that it was trained with',
			},
			{
				displayName: 'Temperature',
				name: 'temperature',
				type: 'number',
				default: 0,
				typeOptions: { minValue: 0, maxValue: 2, numberPrecision: 2 },
				description: 'The default of 0 gives the most probable answer each time',
			},
		],
	},
	...limits('model', 'getAll', 'getVersions'),
];

/** `fields` is the answer as JSON, when it is an object: what an extraction gives. */
async function tryModel(context: IExecuteFunctions, i: number): Promise<IDataObject> {
	const { system, ...options } = context.getNodeParameter('options', i, {}) as IDataObject;
	const messages = [{ role: 'user', content: text(context, 'message', i) }];
	if (system) messages.unshift({ role: 'system', content: system as string });
	const model = text(context, 'model', i);
	const answer = await request<{
		choices: Array<{ message: { content: string | null } }>;
		usage?: IDataObject;
	}>(context, 'POST', '/v1/chat/completions', {
		body: { model, messages, temperature: 0, ...options },
		itemIndex: i,
	});
	const content = answer.choices[0]?.message.content ?? '';
	return { model, answer: content, fields: asObject(content), usage: answer.usage };
}

function asObject(content: string): IDataObject | undefined {
	try {
		const value: unknown = JSON.parse(content);
		return value !== null && typeof value === 'object' ? (value as IDataObject) : undefined;
	} catch {
		return undefined;
	}
}

async function versions(context: IExecuteFunctions, i: number): Promise<IDataObject[]> {
	const path = `/v1/models/${segment(context, 'model', i)}/versions`;
	return (await request<{ data: IDataObject[] }>(context, 'GET', path, { itemIndex: i })).data;
}

async function downloadArtifact(context: IExecuteFunctions, i: number) {
	const artifact = context.getNodeParameter('artifact', i) as string;
	const path = `/v1/models/${segment(context, 'model', i)}/versions/${segment(context, 'version', i)}`;
	return await asBinary(context, i, `${path}/artifacts/${artifact}`, artifact);
}

export const model: Resource = {
	properties,
	operations: {
		download: downloadArtifact,
		get: async (context, i) => (await versions(context, i)).filter(({ live }) => live),
		getAll: async (context, i) => await whole(context, i, '/v1/models'),
		getVersions: async (context, i) =>
			await whole(context, i, `/v1/models/${segment(context, 'model', i)}/versions`),
		publish: async (context, i) =>
			await request(context, 'POST', `/v1/models/${segment(context, 'model', i)}/publish`, {
				body: { version: text(context, 'version', i) },
				itemIndex: i,
			}),
		rollBack: async (context, i) =>
			await request(context, 'POST', `/v1/models/${segment(context, 'model', i)}/rollback`, {
				once: true,
				itemIndex: i,
			}),
		try: tryModel,
	},
};
