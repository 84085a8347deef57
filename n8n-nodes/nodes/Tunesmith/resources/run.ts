import type { IDataObject, INodeProperties } from 'n8n-workflow';
import {
	limits,
	type Operation,
	type Resource,
	runLocator,
	segment,
	shownFor,
	text,
} from '../fields';
import { many } from '../lists';
import { request } from '../transport';
import { Started } from '../waiting';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['run'] } },
		default: 'get',
		options: [
			{
				name: 'Cancel',
				value: 'cancel',
				action: 'Cancel a run',
				description: 'Stop the run for good and free the machine',
			},
			{
				name: 'Get',
				value: 'get',
				action: 'Get a run',
				description: 'Get the status, stages, error and report of a run',
			},
			{
				name: 'Get Events',
				value: 'getEvents',
				action: 'Get the events of a run',
				description: 'What happened in a run, oldest first, with training metrics',
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many runs',
				description: 'List runs, newest first',
			},
			{
				name: 'Pause',
				value: 'pause',
				action: 'Pause a run',
				description: 'Save a checkpoint and free the machine; nothing is lost',
			},
			{
				name: 'Resume',
				value: 'resume',
				action: 'Resume a run',
				description: 'Go on with a paused or failed run; finished stages are kept',
			},
			{
				name: 'Wait',
				value: 'wait',
				action: 'Wait for a run',
				description: 'Wait until a run has ended and return it',
			},
		],
	},
	runLocator(shownFor('run', 'get', 'cancel', 'pause', 'resume', 'getEvents', 'wait')),
	{
		displayName: 'Recipe Name',
		name: 'recipeFilter',
		type: 'string',
		default: '',
		description: 'Only runs of this recipe. Leave empty for all.',
		displayOptions: shownFor('run', 'getAll'),
	},
	{
		displayName: 'After Event',
		name: 'afterEvent',
		type: 'number',
		default: 0,
		description: 'Only events with a greater ID: where the last reading ended',
		displayOptions: shownFor('run', 'getEvents'),
	},
	...limits('run', 'getAll'),
	{
		displayName: 'Limit',
		name: 'limit',
		type: 'number',
		default: 50,
		typeOptions: { minValue: 1 },
		description: 'Max number of results to return',
		displayOptions: shownFor('run', 'getEvents'),
	},
];

const started =
	(action: string): Operation =>
	async (context, i) => {
		const path = `/v1/runs/${segment(context, 'runId', i)}`;
		const json: IDataObject =
			action === 'wait'
				? await request(context, 'GET', path, { itemIndex: i })
				: await request(context, 'POST', `${path}/${action}`, { itemIndex: i });
		return new Started(String(json.id), path, json);
	};

const post =
	(action: string): Operation =>
	async (context, i) =>
		await request(context, 'POST', `/v1/runs/${segment(context, 'runId', i)}/${action}`, {
			itemIndex: i,
		});

export const run: Resource = {
	properties,
	operations: {
		get: async (context, i) =>
			await request(context, 'GET', `/v1/runs/${segment(context, 'runId', i)}`, { itemIndex: i }),
		getAll: async (context, i) => {
			const recipe = text(context, 'recipeFilter', i);
			return await many(context, i, '/v1/runs', recipe ? { recipe } : {});
		},
		getEvents: async (context, i) => {
			const qs = {
				after: context.getNodeParameter('afterEvent', i, 0) as number,
				limit: Math.min(1000, context.getNodeParameter('limit', i, 50) as number),
			};
			const path = `/v1/runs/${segment(context, 'runId', i)}/events`;
			return (await request<{ data: IDataObject[] }>(context, 'GET', path, { qs, itemIndex: i }))
				.data;
		},
		cancel: post('cancel'),
		pause: post('pause'),
		resume: started('resume'),
		wait: started('wait'),
	},
};
