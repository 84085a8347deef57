/** Files that come in as binary data of an item, and files that go out as such. */

import { randomUUID } from 'node:crypto';
import type { IDataObject, IExecuteFunctions } from 'n8n-workflow';
import { FileItem } from './fields';
import { download, request } from './transport';

export interface Upload {
	name: string;
	data: Buffer;
}

/** The binary field of the item that the node reads from. */
export async function binaryOf(context: IExecuteFunctions, i: number): Promise<Upload> {
	const field = context.getNodeParameter('binaryField', i, 'data') as string;
	const meta = context.helpers.assertBinaryData(i, field);
	return {
		name: meta.fileName ?? 'rows.jsonl',
		data: await context.helpers.getBinaryDataBuffer(i, field),
	};
}

/** Upload one file as multipart form data, with plain fields beside it. */
export async function upload(
	context: IExecuteFunctions,
	i: number,
	path: string,
	file: Upload,
	fields: Record<string, string> = {},
): Promise<IDataObject> {
	const boundary = `tunesmith-${randomUUID()}`;
	const parts: Buffer[] = [];
	for (const [name, value] of Object.entries(fields)) {
		parts.push(
			Buffer.from(
				`--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
			),
		);
	}
	const fileName = file.name.replace(/["\r\n]/g, '_');
	parts.push(
		Buffer.from(
			`--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${fileName}"\r\n` +
				'Content-Type: application/octet-stream\r\n\r\n',
		),
		file.data,
		Buffer.from(`\r\n--${boundary}--\r\n`),
	);
	const headers = { 'Content-Type': `multipart/form-data; boundary=${boundary}` };
	return await request(context, 'POST', path, {
		body: Buffer.concat(parts),
		headers,
		itemIndex: i,
	});
}

/** Download a file into the binary field that the node writes to. */
export async function asBinary(
	context: IExecuteFunctions,
	i: number,
	path: string,
	fallbackName: string,
	qs: IDataObject = {},
): Promise<FileItem> {
	const { data, headers } = await download(context, path, { qs, itemIndex: i });
	const named = /filename="?([^";]+)"?/.exec(String(headers['content-disposition'] ?? ''))?.[1];
	const type = String(headers['content-type'] ?? 'application/octet-stream').split(';')[0];
	const field = context.getNodeParameter('binaryField', i, 'data') as string;
	const binary = await context.helpers.prepareBinaryData(data, named ?? fallbackName, type);
	const json = { file_name: named ?? fallbackName, bytes: data.length };
	return new FileItem({ json, binary: { [field]: binary } });
}
