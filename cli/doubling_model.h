/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RP_CLI_DOUBLING_MODEL_H
#define RP_CLI_DOUBLING_MODEL_H

/*
 * The smallest ONNX model that computes something: y = x + x for two floats. Fields of
 * onnx.proto3, each as tag, length, bytes: ModelProto.ir_version 8, .graph, .opset_import 13.
 */
static const unsigned char doubling_model[] = {
    0x08, 0x08,                                     /* ir_version: 8                   */
    0x3A, 0x35,                                     /* graph: 53 bytes                 */
    0x0A, 0x0E,                                     /* node: 14 bytes                  */
    0x0A, 0x01, 'x',  0x0A, 0x01, 'x',              /* inputs x, x                     */
    0x12, 0x01, 'y',  0x22, 0x03, 'A',  'd',  'd',  /* output y, op_type Add: 14 in all */
    0x12, 0x01, 'g',                                /* graph name                      */
    0x5A, 0x0F,                                     /* input: 15 bytes                 */
    0x0A, 0x01, 'x',  0x12, 0x0A, 0x0A, 0x08, 0x08, /* name x, type, tensor_type       */
    0x01, 0x12, 0x04, 0x0A, 0x02, 0x08, 0x02,       /* float, shape of one dimension 2 */
    0x62, 0x0F,                                     /* output: 15 bytes                */
    0x0A, 0x01, 'y',  0x12, 0x0A, 0x0A, 0x08, 0x08, /* name y, type, tensor_type       */
    0x01, 0x12, 0x04, 0x0A, 0x02, 0x08, 0x02,       /* float, shape of one dimension 2 */
    0x42, 0x04, 0x0A, 0x00, 0x10, 0x0D,             /* opset_import: default domain, 13 */
};

#endif
