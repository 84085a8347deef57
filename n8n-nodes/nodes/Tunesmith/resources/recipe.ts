import { randomUUID } from 'node:crypto';
import type { IDataObject, IExecuteFunctions, INodeProperties } from 'n8n-workflow';
import { json, limits, recipeLocator, type Resource, segment, shownFor } from '../fields';
import { whole } from '../lists';
import { request } from '../transport';
import { Started } from '../waiting';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['recipe'] } },
		default: 'run',
		options: [
			{
				name: 'Get',
				value: 'get',
				action: 'Get a recipe',
				description: 'Get the document of one recipe',
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many recipes',
				description: 'List the saved recipes',
			},
			{
				name: 'Run',
				value: 'run',
				action: 'Run a recipe',
				description:
					'Build the dataset, train, measure and, if the gate is met, publish: all that the recipe says',
			},
			{
				name: 'Save',
				value: 'save',
				action: 'Save a recipe',
				description: 'Create a recipe, or replace the one of the same name',
			},
		],
	},
	recipeLocator(shownFor('recipe', 'run', 'get')),
	{
		displayName: 'Recipe Document',
		name: 'document',
		type: 'json',
		required: true,
		default:
			'{\n  "name": "household-documents",\n  "task": {"type": "extraction", "schema": {"date": "date", "correspondent": "string", "amount": "money"}},\n  "sources": [{"paperless": {"tags": ["finance"]}}],\n  "base_model": "smollm2-135m-instruct",\n  "publish": {"name": "household-extractor"}\n}',
		description:
			'The recipe as JSON: name, sources (paperless, documents or file), task, base_model, training, gate, publish. A misspelt key is an error.',
		displayOptions: shownFor('recipe', 'save'),
	},
	{
		displayName: 'Idempotency Key',
		name: 'idempotencyKey',
		type: 'string',
		default: '',
		description:
			'The same key gives the same run again instead of a second one. Leave empty for a new run each time.',
		displayOptions: shownFor('recipe', 'run'),
	},
	{
		displayName: 'Last Stage',
		name: 'until',
		type: 'options',
		default: 'publish',
		options: [
			{ name: 'Build', value: 'build', description: 'Only make and check the dataset' },
			{ name: 'Evaluate', value: 'evaluate', description: 'Train and measure; nothing goes live' },
			{ name: 'Publish', value: 'publish', description: 'Go live if the gate is met' },
		],
		description: 'Where the run ends',
		displayOptions: shownFor('recipe', 'run'),
	},
	...limits('recipe', 'getAll'),
];

/** Run a recipe up to its stage `until`. */
export async function startRun(
	context: IExecuteFunctions,
	i: number,
	until: string,
): Promise<Started> {
	const path = `/v1/recipes/${segment(context, 'recipe', i)}/runs`;
	return await started(context, i, path, { qs: { until } });
}

/** POST what starts a run. The key makes a repeated call give the same one. */
export async function started(
	context: IExecuteFunctions,
	i: number,
	path: string,
	what: { qs?: IDataObject; body?: IDataObject },
): Promise<Started> {
	const key = (context.getNodeParameter('idempotencyKey', i, '') as string) || randomUUID();
	const run: IDataObject = await request(context, 'POST', path, {
		headers: { 'Idempotency-Key': key },
		...what,
		itemIndex: i,
	});
	return new Started(String(run.id), `/v1/runs/${run.id}`, run);
}

export const recipe: Resource = {
	properties,
	operations: {
		get: async (context, i) =>
			await request(context, 'GET', `/v1/recipes/${segment(context, 'recipe', i)}`, {
				itemIndex: i,
			}),
		getAll: async (context, i) => await whole(context, i, '/v1/recipes'),
		save: async (context, i) =>
			await request(context, 'POST', '/v1/recipes', {
				body: json(context, 'document', i),
				itemIndex: i,
			}),
		run: async (context, i) =>
			await startRun(context, i, context.getNodeParameter('until', i, 'publish') as string),
	},
};
