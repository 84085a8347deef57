import type { IDataObject, INodeProperties } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';
import { type Resource, runLocator, segment, shownFor } from '../fields';
import { request } from '../transport';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['evaluation'] } },
		default: 'get',
		options: [
			{
				name: 'Get',
				value: 'get',
				action: 'Get an evaluation',
				description:
					'What was measured of the model that a run made, on held-out examples, and what the gate said',
			},
		],
	},
	runLocator(shownFor('evaluation', 'get')),
];

export const evaluation: Resource = {
	properties,
	operations: {
		get: async (context, i) => {
			const path = `/v1/runs/${segment(context, 'runId', i)}`;
			const run: IDataObject = await request(context, 'GET', path, { itemIndex: i });
			if (!run.report) {
				throw new NodeOperationError(
					context.getNode(),
					`The run ${run.id} has not been evaluated.`,
					{
						itemIndex: i,
						description: `It is ${run.status}. Wait for its end; a run that fails before has no report.`,
					},
				);
			}
			const { id, model, status, error, report } = run;
			return { run_id: id, model, status, error, ...(report as IDataObject) };
		},
	},
};
