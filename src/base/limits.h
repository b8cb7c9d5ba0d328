/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every limit of the library, in one place, each with its reason. A caller that meets one gets
 * RP_ERR_LIMIT (or RP_ERR_ARGUMENT for names) with both numbers in the message.
 */
#ifndef RP_BASE_LIMITS_H
#define RP_BASE_LIMITS_H

enum {
    /* A type is a word such as "embedding"; longer ones are a mistake. */
    RP_LIMIT_TYPE_BYTES = 128,

    /* A name may be a path: PATH_MAX of Linux, including the closing NUL. */
    RP_LIMIT_NAME_BYTES = 4096,

    /* "cuda:15", "openvino:GPU.1", "simulated:3" */
    RP_LIMIT_DEVICE_BYTES = 64,
    RP_LIMIT_PRECISION_BYTES = 32,
    RP_LIMIT_ENGINE_BYTES = 64,

    /* More threads than any machine has processors: catches a byte count passed by mistake. */
    RP_LIMIT_THREADS = 4096,

    /* Dimensions of a tensor: DLPack has no limit, ONNX models stay below 10. */
    RP_LIMIT_TENSOR_DIMENSIONS = 32,

    /* Inputs or outputs of one model. */
    RP_LIMIT_MODEL_PORTS = 1024,

    /* Devices in one snapshot: 8 GPUs of 7 MIG slices each are 64. */
    RP_LIMIT_DEVICES = 1024,

    /* A snapshot file that a person or a program wrote: the largest recorded one is below 100 kB.
     */
    RP_LIMIT_SNAPSHOT_BYTES = 4 << 20,

    /* What is kept of drivers and runtimes: 1,024 devices with all facts are below 700 kB. */
    RP_LIMIT_HARDWARE_CACHE_BYTES = 1 << 20,

    /* One text in a snapshot: the affinity list of 8,192 processors, every other one, is 20 kB. */
    RP_LIMIT_SNAPSHOT_TEXT_BYTES = 64 << 10,

    /* What a detection met and passed over: more than this and the reader is no wiser. */
    RP_LIMIT_SNAPSHOT_NOTES = 64,

    /* The most processors a Linux kernel can be built for (NR_CPUS on x86-64). */
    RP_LIMIT_PROCESSORS = 8192,

    /* The most NUMA nodes a Linux kernel can be built for (MAX_NUMNODES). */
    RP_LIMIT_NUMA_NODES = 1024,

    /* x86-64 kernels know below 500 feature words, the longest of 19 letters. */
    RP_LIMIT_CPU_FEATURES = 1024,
    RP_LIMIT_CPU_FEATURE_BYTES = 64,

    /* Mounts of cgroup file systems that are walked: hybrid machines have about 15. */
    RP_LIMIT_CGROUP_MOUNTS = 64,

    /* Groups with a memory limit above one process whose files stay open: the deepest trees seen
     * (a pod in a machine of a cluster in a slice) have 8 levels, few of them with a limit. */
    RP_LIMIT_PRESSURE_GROUPS = 16,

    /* A file under /proc or /sys: /proc/cpuinfo of 1,024 processors is 1.5 MB. */
    RP_LIMIT_SYSTEM_FILE_BYTES = 8 << 20,

    /* How deep constructors may ask for each other: a chain this long is a loop of changing names.
     */
    RP_LIMIT_BUILD_DEPTH = 64,

    /* Rules of placement: ours are 7 kB; nobody edits more than this by hand. */
    RP_LIMIT_RULES_BYTES = 1 << 20,

    /* Preferences as JSON: a dictionary of twenty keys. */
    RP_LIMIT_PREFERENCES_BYTES = 64 << 10,

    /* Tensors of one model: experts one by one in 61 layers of 256 are 46,000. */
    RP_LIMIT_MODEL_TENSORS = 1 << 20,

    /* Files of one model: the most parts seen are 191, but old exports have one for each tensor. */
    RP_LIMIT_MODEL_FILES = 8192,

    /* Metadata and tensor table of a file: a tokenizer of 256,000 tokens is 20 MB. */
    RP_LIMIT_MODEL_HEADER_BYTES = 256 << 20,

    /* One element of XML with its attributes: the longest seen, a list of inputs, has 2 kB. */
    RP_LIMIT_MODEL_XML_BYTES = 1 << 20,

    /* Graphs within graphs, arrays within arrays, elements within elements: three are many. */
    RP_LIMIT_MODEL_DEPTH = 64,

    /* Entries of a model's folder that are looked at: repositories hold below 2,000 files. */
    RP_LIMIT_FOLDER_ENTRIES = 65536,

    /*
     * The table of tensors in front of a safetensors file, and the index of a model in several
     * files: the 92,000 tensors of a mixture of 256 experts take 9 MB of index. The format itself
     * allows 100,000,000 bytes, more than any model needs.
     */
    RP_LIMIT_TENSOR_TABLE_BYTES = 32 << 20,

    /* A JSON file beside the weights: tokenizer_config.json with 100,000 added tokens is 17 MB. */
    RP_LIMIT_CONFIG_BYTES = 24 << 20,

    /* Values of one JSON text: 100,000 tensors have ten each; parsed, one takes up to 300 bytes. */
    RP_LIMIT_JSON_VALUES = 2 << 20,

    /* Configurations nest below 10 deep; the parser and what frees its result recurse. */
    RP_LIMIT_JSON_DEPTH = 128,

    /* A file of families by name: a hub's 2 million models at 30 bytes each. */
    RP_LIMIT_MODEL_DATABASE_BYTES = 64 << 20,

    /* One run through shared memory: 12 pictures of 1024x1024 in float32 are 151 MB. */
    RP_LIMIT_RING_SLOT_BYTES = 256 << 20,

    /* Parts of one shared object: a model of 46,000 experts, each a tensor, with room to grow. */
    RP_LIMIT_SEGMENT_PARTS = 1 << 16,

    /* Shared objects at one broker: each keeps a descriptor open there. */
    RP_LIMIT_OBJECTS = 1 << 16,

    /* Shared objects in the making at one time, and who waits for them: 1,000 processes of a suite,
     * several threads each. */
    RP_LIMIT_OBJECT_BUILDS = 4096,
    RP_LIMIT_OBJECT_WAITS = 1 << 16,

    /* A key for people: its type, a name that may be a path, device, precision and what is between.
     */
    RP_LIMIT_KEY_BYTES = 8 << 10,

    /* The command line of a process, for people. */
    RP_LIMIT_COMMAND_BYTES = 256,

    /* What a program says of itself to the broker: a page of JSON, and half a frame. */
    RP_LIMIT_TOLD_BYTES = 32 << 10,

    /* One text in a frame between processes: frames have 64 KiB. */
    RP_LIMIT_FRAME_TEXT_BYTES = 32 << 10,

    /* Connections to one broker: the largest suites run on some hundreds of processors. */
    RP_LIMIT_CLIENTS = 4096,

    /* Leases of one process at the broker: one for each model and object it uses. */
    RP_LIMIT_CLIENT_LEASES = 16384,

    /* Its leases on the same model: one for each of its pools. Each has threads in the worker. */
    RP_LIMIT_CLIENT_LEASES_SAME = 64,

    /* Requests of one process that the broker has not answered yet: one for each of its threads. */
    RP_LIMIT_CLIENT_REQUESTS = 1024,

    /* Rings that one client keeps between leases: each is a thread of a worker. */
    RP_LIMIT_CLIENT_RINGS = 16,

    /* Orders of one process under way: people give one at a time, and each may take a thread. */
    RP_LIMIT_CLIENT_ORDERS = 16,

    /* Answers that a process has not read yet: the status of 10,000 entries is 8 MB. */
    RP_LIMIT_CLIENT_UNREAD_BYTES = 32 << 20,

    /* A text that grows: statistics of 100,000 entries as JSON are 50 MB. */
    RP_LIMIT_TEXT_BYTES = 256 << 20,
};

#endif
