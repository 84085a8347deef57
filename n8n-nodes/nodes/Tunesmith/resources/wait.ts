import type { INodeProperties } from 'n8n-workflow';

/** Of all operations that start something which ends later. */
const displayOptions = {
	show: {
		resource: ['dataset', 'job', 'recipe', 'run'],
		operation: ['build', 'create', 'resume', 'run', 'synthesize'],
	},
};

const waitsFor = (...wait: string[]) => ({ show: { ...displayOptions.show, wait } });

const timeLimit: INodeProperties = {
	displayName: 'Time Limit (Minutes)',
	name: 'timeLimit',
	type: 'number',
	typeOptions: { minValue: 1 },
	default: 120,
	description: 'How long to wait at most. The run itself goes on after that.',
};

const waitOptions: INodeProperties = {
	displayName: 'Wait Options',
	name: 'waitOptions',
	type: 'collection',
	placeholder: 'Add Option',
	default: {},
	options: [
		{
			displayName: 'Require Success',
			name: 'failOnError',
			type: 'boolean',
			default: true,
			description:
				'Whether the node fails when the run does not succeed, for example because the gate was not met. Otherwise the status tells.',
		},
		{
			displayName: 'On Time Limit',
			name: 'onTimeLimit',
			type: 'options',
			default: 'error',
			description: 'What to do when the run has not ended within the time limit',
			options: [
				{ name: 'Fail', value: 'error' },
				{ name: 'Return the Run', value: 'return', description: 'As it is, with timed_out' },
			],
		},
		{
			displayName: 'When the Execution Is Cancelled',
			name: 'onCancel',
			type: 'options',
			default: 'cancel',
			description: 'What becomes of the run when this execution is stopped while it waits',
			options: [
				{ name: 'Cancel the Run', value: 'cancel' },
				{ name: 'Let It Go On', value: 'nothing' },
				{ name: 'Pause the Run (Keeps a Checkpoint)', value: 'pause' },
			],
		},
	],
};

export const waitProperties: INodeProperties[] = [
	{
		displayName: 'Wait for the End',
		name: 'wait',
		type: 'options',
		default: 'no',
		description: 'Whether to wait until the run has ended, which takes minutes to hours',
		options: [
			{
				name: 'No',
				value: 'no',
				description: 'Return at once with the ID; use Run: Wait or the trigger later',
			},
			{
				name: 'Poll',
				value: 'poll',
				description:
					'Keep the execution running and ask until the end; works everywhere, also as an AI tool',
			},
			{
				name: 'Suspend',
				value: 'suspend',
				description:
					'Let the execution sleep until Tunesmith calls back; survives a restart of n8n. This n8n must be on TUNESMITH_WEBHOOK_HOSTS.',
			},
		],
		displayOptions,
	},
	{ ...timeLimit, displayOptions: waitsFor('poll', 'suspend') },
	{ ...waitOptions, displayOptions: waitsFor('poll') },
	{ ...timeLimit, displayOptions: { show: { resource: ['run'], operation: ['wait'] } } },
	{ ...waitOptions, displayOptions: { show: { resource: ['run'], operation: ['wait'] } } },
];
