/** Fields that several resources share. */

import type {
	IDataObject,
	INodeExecutionData,
	IExecuteFunctions,
	INodeProperties,
} from 'n8n-workflow';
import type { Started } from './waiting';

/** An item with binary data. */
export class FileItem {
	constructor(readonly item: INodeExecutionData) {}
}

/** What an operation gives back: JSON, a file, or something that may be waited for. */
export type Result = IDataObject | IDataObject[] | FileItem | Started;

export type Operation = (context: IExecuteFunctions, i: number) => Promise<Result>;

export interface Resource {
	properties: INodeProperties[];
	operations: Record<string, Operation>;
}

export const shownFor = (
	resource: string,
	...operation: string[]
): INodeProperties['displayOptions'] => ({
	show: { resource: [resource], operation },
});

/** A field that is chosen from a searched list, or given by its id or name. */
export function locator(
	field: {
		name: string;
		displayName: string;
		description: string;
		placeholder: string;
		search: string;
	},
	displayOptions: INodeProperties['displayOptions'],
): INodeProperties {
	return {
		displayName: field.displayName,
		name: field.name,
		type: 'resourceLocator',
		default: { mode: 'list', value: '' },
		required: true,
		description: field.description,
		displayOptions,
		modes: [
			{
				displayName: 'From List',
				name: 'list',
				type: 'list',
				typeOptions: { searchListMethod: field.search, searchable: true },
			},
			{ displayName: 'By ID or Name', name: 'id', type: 'string', placeholder: field.placeholder },
		],
	};
}

export const modelLocator = (displayOptions: INodeProperties['displayOptions']) =>
	locator(
		{
			name: 'model',
			displayName: 'Model',
			description: 'The published model, by its name',
			placeholder: 'household-extractor',
			search: 'searchModels',
		},
		displayOptions,
	);

export const recipeLocator = (displayOptions: INodeProperties['displayOptions']) =>
	locator(
		{
			name: 'recipe',
			displayName: 'Recipe',
			description: 'The saved recipe, by its name',
			placeholder: 'household-documents',
			search: 'searchRecipes',
		},
		displayOptions,
	);

export const runLocator = (displayOptions: INodeProperties['displayOptions']) =>
	locator(
		{
			name: 'runId',
			displayName: 'Run',
			description: 'The run, by the ID that starting it returned (it starts with run-)',
			placeholder: 'run-0123456789ab',
			search: 'searchRuns',
		},
		displayOptions,
	);

export const datasetLocator = (displayOptions: INodeProperties['displayOptions']) =>
	locator(
		{
			name: 'dataset',
			displayName: 'Dataset',
			description: 'The dataset, by its name',
			placeholder: 'household-documents',
			search: 'searchDatasets',
		},
		displayOptions,
	);

export function limits(resource: string, ...operation: string[]): INodeProperties[] {
	return [
		{
			displayName: 'Return All',
			name: 'returnAll',
			type: 'boolean',
			default: false,
			description: 'Whether to return all results or only up to a given limit',
			displayOptions: shownFor(resource, ...operation),
		},
		{
			displayName: 'Limit',
			name: 'limit',
			type: 'number',
			default: 50,
			typeOptions: { minValue: 1 },
			description: 'Max number of results to return',
			displayOptions: { show: { resource: [resource], operation, returnAll: [false] } },
		},
	];
}

/** The value of a locator or a plain field, as it may stand in a path. */
export function segment(context: IExecuteFunctions, name: string, i: number): string {
	const value = context.getNodeParameter(name, i, '', { extractValue: true });
	return encodeURIComponent(String(value).trim());
}

export const text = (context: IExecuteFunctions, name: string, i: number): string =>
	String(context.getNodeParameter(name, i, '', { extractValue: true })).trim();

/** A field that holds JSON: typed in, or already an object from an expression. */
export function json(context: IExecuteFunctions, name: string, i: number): IDataObject {
	const value = context.getNodeParameter(name, i, {}) as string | IDataObject;
	return typeof value === 'string' ? (JSON.parse(value || '{}') as IDataObject) : value;
}
