import type { IDataObject, IExecuteFunctions, INodeProperties } from 'n8n-workflow';
import { limits, locator, recipeLocator, type Resource, segment, shownFor, text } from '../fields';
import { whole } from '../lists';
import { request } from '../transport';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['schedule'] } },
		default: 'getAll',
		options: [
			{
				name: 'Create',
				value: 'create',
				action: 'Create a schedule',
				description: 'Run a recipe by the clock, only when enough new or corrected documents exist',
			},
			{
				name: 'Delete',
				value: 'delete',
				action: 'Delete a schedule',
				description: 'End a schedule; the recipe and its runs stay',
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many schedules',
				description: 'List the schedules with their next times',
			},
			{
				name: 'Run Now',
				value: 'runNow',
				action: 'Run a schedule now',
				description: 'Do now what the schedule does at its time',
			},
		],
	},
	locator(
		{
			name: 'schedule',
			displayName: 'Schedule',
			description: 'The schedule, by its name',
			placeholder: 'nightly',
			search: 'searchSchedules',
		},
		shownFor('schedule', 'delete', 'runNow'),
	),
	{
		displayName: 'Name',
		name: 'name',
		type: 'string',
		default: '',
		required: true,
		placeholder: 'nightly',
		description: 'Name of the new schedule',
		displayOptions: shownFor('schedule', 'create'),
	},
	recipeLocator(shownFor('schedule', 'create')),
	{
		displayName: 'When',
		name: 'when',
		type: 'options',
		default: 'cron',
		options: [
			{ name: 'Cron Expression', value: 'cron' },
			{ name: 'Interval', value: 'every' },
		],
		description: 'How the times are given',
		displayOptions: shownFor('schedule', 'create'),
	},
	{
		displayName: 'Cron Expression',
		name: 'cron',
		type: 'string',
		default: '0 2 * * *',
		required: true,
		description: 'Minute, hour, day of the month, month, day of the week',
		displayOptions: { show: { resource: ['schedule'], operation: ['create'], when: ['cron'] } },
	},
	{
		displayName: 'Interval',
		name: 'every',
		type: 'string',
		default: '12h',
		required: true,
		description: 'Such as 30m, 12h or 7d',
		displayOptions: { show: { resource: ['schedule'], operation: ['create'], when: ['every'] } },
	},
	{
		displayName: 'Additional Fields',
		name: 'additionalFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: shownFor('schedule', 'create'),
		options: [
			{
				displayName: 'Enabled',
				name: 'enabled',
				type: 'boolean',
				default: true,
				description: 'Whether the schedule starts runs',
			},
			{
				displayName: 'Minimum New Documents',
				name: 'minimum_new_documents',
				type: 'number',
				default: 20,
				typeOptions: { minValue: 0 },
				description:
					'Skip the run when fewer documents are new or were corrected since the last one',
			},
			{
				displayName: 'Quiet From',
				name: 'quietFrom',
				type: 'string',
				default: '07:00',
				description: 'Between this time of the day and Quiet Until nothing is started',
			},
			{
				displayName: 'Quiet Until',
				name: 'quietUntil',
				type: 'string',
				default: '22:00',
				description: 'The end of the quiet hours that Quiet From begins',
			},
			{
				displayName: 'Time Zone',
				name: 'timezone',
				type: 'string',
				default: '',
				placeholder: 'Europe/Berlin',
				description: 'Of the cron expression and the quiet hours',
			},
		],
	},
	...limits('schedule', 'getAll'),
];

async function create(context: IExecuteFunctions, i: number): Promise<IDataObject> {
	const when = context.getNodeParameter('when', i) as 'cron' | 'every';
	const { quietFrom, quietUntil, ...more } = context.getNodeParameter(
		'additionalFields',
		i,
		{},
	) as IDataObject;
	const body = {
		name: text(context, 'name', i),
		recipe: text(context, 'recipe', i),
		[when]: text(context, when, i),
		...Object.fromEntries(Object.entries(more).filter(([, value]) => value !== '')),
		...(quietFrom && quietUntil ? { quiet_hours: { from: quietFrom, to: quietUntil } } : {}),
	};
	return await request(context, 'POST', '/v1/schedules', { body, itemIndex: i });
}

export const schedule: Resource = {
	properties,
	operations: {
		create,
		getAll: async (context, i) => await whole(context, i, '/v1/schedules'),
		delete: async (context, i) => {
			const name = text(context, 'schedule', i);
			await request(context, 'DELETE', `/v1/schedules/${segment(context, 'schedule', i)}`, {
				itemIndex: i,
			});
			return { name, deleted: true };
		},
		runNow: async (context, i) =>
			await request(context, 'POST', `/v1/schedules/${segment(context, 'schedule', i)}/run`, {
				once: true,
				itemIndex: i,
			}),
	},
};
