#pragma once
// ggml's own CPU backend as the peer of a product: loaded at run time from the folder of llama.cpp's shared libraries,
// so that no header of theirs is needed to build this. The functions are declared by hand; structs stay opaque.
#include <dlfcn.h>
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

/// ggml's opaque types and the functions that are called here, each named as ggml names it, without its prefix.
struct ggml_functions {
    struct context;
    struct tensor;
    struct graph;
    struct reg;
    struct device;
    struct backend;
    struct buffer_type;
    struct buffer;
    struct threads;
    /// ggml_init_params
    struct init_params {
        std::size_t bytes;
        void* memory;
        bool no_alloc;
    };
    /// ggml_threadpool_params: filled in by ggml itself; smaller than this.
    struct alignas(8) thread_params {
        std::byte bytes[4096];
    };

    // libggml-base
    context* (*init)(init_params);
    void (*free)(context*);
    void (*log_set)(void (*)(int level, const char* text, void* user), void* user);
    std::size_t (*tensor_overhead)();
    std::size_t (*graph_overhead_custom)(std::size_t nodes, bool gradients);
    tensor* (*new_tensor_2d)(context*, int type, std::int64_t cols, std::int64_t rows);
    tensor* (*mul_mat)(context*, tensor* weights, tensor* x);
    graph* (*new_graph_custom)(context*, std::size_t nodes, bool gradients);
    void (*build_forward_expand)(graph*, tensor*);
    device* (*backend_reg_dev_get)(reg*, std::size_t);
    void* (*backend_reg_get_proc_address)(reg*, const char*);
    backend* (*backend_dev_init)(device*, const char*);
    bool (*backend_dev_supports_op)(device*, const tensor*);
    buffer_type* (*backend_cpu_buffer_type)();
    buffer* (*backend_cpu_buffer_from_ptr)(void*, std::size_t);
    buffer* (*backend_buft_alloc_buffer)(buffer_type*, std::size_t);
    std::size_t (*backend_buft_get_alloc_size)(buffer_type*, const tensor*);
    const char* (*backend_buft_name)(buffer_type*);
    void* (*backend_buffer_get_base)(buffer*);
    void (*backend_buffer_free)(buffer*);
    int (*backend_tensor_alloc)(buffer*, tensor*, void*);
    buffer* (*backend_alloc_ctx_tensors_from_buft)(context*, buffer_type*);
    void (*backend_tensor_set)(tensor*, const void*, std::size_t offset, std::size_t bytes);
    void (*backend_tensor_get)(const tensor*, void*, std::size_t offset, std::size_t bytes);
    int (*backend_graph_compute)(backend*, graph*);
    void (*threadpool_params_init)(thread_params*, int);
    // libggml-cpu-*
    reg* (*backend_init)();
    void (*backend_cpu_set_n_threads)(backend*, int);
    void (*backend_cpu_set_threadpool)(backend*, threads*);
    threads* (*threadpool_new)(thread_params*);
    void (*threadpool_pause)(threads*);

    ggml_functions(void* base, void* cpu) {
#define BENCH_GGML_BIND(library, name) bind(library, name, "ggml_" #name)
        BENCH_GGML_BIND(base, init), BENCH_GGML_BIND(base, free), BENCH_GGML_BIND(base, tensor_overhead);
        BENCH_GGML_BIND(base, log_set);
        BENCH_GGML_BIND(base, graph_overhead_custom), BENCH_GGML_BIND(base, new_tensor_2d);
        BENCH_GGML_BIND(base, mul_mat), BENCH_GGML_BIND(base, new_graph_custom);
        BENCH_GGML_BIND(base, build_forward_expand), BENCH_GGML_BIND(base, backend_reg_dev_get);
        BENCH_GGML_BIND(base, backend_reg_get_proc_address), BENCH_GGML_BIND(base, backend_dev_init);
        BENCH_GGML_BIND(base, backend_dev_supports_op), BENCH_GGML_BIND(base, backend_cpu_buffer_type);
        BENCH_GGML_BIND(base, backend_cpu_buffer_from_ptr), BENCH_GGML_BIND(base, backend_buft_alloc_buffer);
        BENCH_GGML_BIND(base, backend_buft_get_alloc_size), BENCH_GGML_BIND(base, backend_buft_name);
        BENCH_GGML_BIND(base, backend_buffer_get_base), BENCH_GGML_BIND(base, backend_buffer_free);
        BENCH_GGML_BIND(base, backend_tensor_alloc), BENCH_GGML_BIND(base, backend_alloc_ctx_tensors_from_buft);
        BENCH_GGML_BIND(base, backend_tensor_set), BENCH_GGML_BIND(base, backend_tensor_get);
        BENCH_GGML_BIND(base, backend_graph_compute), BENCH_GGML_BIND(base, threadpool_params_init);
        BENCH_GGML_BIND(cpu, backend_init), BENCH_GGML_BIND(cpu, backend_cpu_set_n_threads);
        BENCH_GGML_BIND(cpu, backend_cpu_set_threadpool), BENCH_GGML_BIND(cpu, threadpool_new);
        BENCH_GGML_BIND(cpu, threadpool_pause);
#undef BENCH_GGML_BIND
    }

private:
    template <class F> static void bind(void* library, F*& function, const char* name) {
        function = reinterpret_cast<F*>(dlsym(library, name));
        if (function == nullptr) throw std::runtime_error(std::string("ggml lacks ") + name);
    }
};

/// The backend of one build of ggml's kernels. Failures throw std::runtime_error. Never unloaded.
class ggml_peer {
    using g = ggml_functions;
    static constexpr int f32 = 0;  // GGML_TYPE_F32
    static constexpr std::size_t nodes = 8;

public:
    /// `variant`: the end of a library's name, "haswell"; empty: the one that scores best on this machine.
    ggml_peer(const std::filesystem::path& folder, const std::string& variant, int threads)
        : name_(variant.empty() ? best_variant(folder) : variant),
          f_(open(folder / "libggml-base.so"), open(folder / ("libggml-cpu-" + name_ + ".so"))) {
        if (score(folder / ("libggml-cpu-" + name_ + ".so")) == 0)
            throw std::runtime_error("this machine cannot run ggml's " + name_);
        f_.log_set([](int, const char*, void*) {}, nullptr);
        registry_ = f_.backend_init();
        device_ = f_.backend_reg_dev_get(registry_, 0);
        backend_ = f_.backend_dev_init(device_, nullptr);
        if (backend_ == nullptr) throw std::runtime_error("ggml's backend does not start");
        g::thread_params params{};
        f_.threadpool_params_init(&params, threads);
        pool_ = f_.threadpool_new(&params);
        f_.backend_cpu_set_n_threads(backend_, threads);
        f_.backend_cpu_set_threadpool(backend_, pool_);
        rest();
    }

    [[nodiscard]] const std::string& variant() const { return name_; }
    /// Sends its threads to sleep: they would spin into the next turn.
    void rest() const { f_.threadpool_pause(pool_); }

    struct free_context {
        const g* f;
        void operator()(g::context* c) const { f->free(c); }
    };
    struct free_buffer {
        const g* f;
        void operator()(g::buffer* b) const { f->backend_buffer_free(b); }
    };
    using context = std::unique_ptr<g::context, free_context>;
    using buffer = std::unique_ptr<g::buffer, free_buffer>;

    /// Matrices of one shape and type in one kind of buffer.
    struct weights {
        std::string kind;  ///< "plain", or the name of a repacking buffer type
        std::int64_t cols = 0;
        context memory;
        std::vector<g::tensor*> matrices;
        std::vector<buffer> buffers;
    };
    /// Y = X * W^T for each of them.
    struct products {
        context memory;
        buffer values;
        g::tensor* x = nullptr;
        std::vector<g::tensor*> y;
        std::vector<g::graph*> graphs;
    };

    /// Every way in which this build can hold the matrices: as they are, in the caller's memory, and repacked.
    [[nodiscard]] std::vector<weights> hold(int type, std::size_t rows, std::size_t cols,
                                            std::span<const std::span<std::byte>> matrices) const {
        std::vector<weights> all;
        all.push_back(declare(type, rows, cols, matrices.size(), "plain"));
        for (std::size_t i = 0; i < matrices.size(); ++i) {
            all[0].buffers.emplace_back(f_.backend_cpu_buffer_from_ptr(matrices[i].data(), matrices[i].size()),
                                        free_buffer{&f_});
            f_.backend_tensor_alloc(all[0].buffers[i].get(), all[0].matrices[i], matrices[i].data());
        }
        if (!multiplies(all[0])) return {};
        for (g::buffer_type* const kind : extra_kinds()) {
            weights w = declare(type, rows, cols, matrices.size(), f_.backend_buft_name(kind));
            if (repack(w, kind, matrices)) all.push_back(std::move(w));
        }
        return all;
    }

    /// Of the first `count` matrices with x, (n, cols).
    [[nodiscard]] products multiply(const weights& w, const float* x, std::size_t n, std::size_t count) const {
        products p{open_context(2 * count + 4), buffer(nullptr, free_buffer{&f_}), nullptr, {}, {}};
        p.x = f_.new_tensor_2d(p.memory.get(), f32, w.cols, static_cast<std::int64_t>(n));
        for (std::size_t i = 0; i < count; ++i) {
            p.y.push_back(f_.mul_mat(p.memory.get(), w.matrices[i], p.x));
            p.graphs.push_back(f_.new_graph_custom(p.memory.get(), nodes, false));
            f_.build_forward_expand(p.graphs.back(), p.y.back());
        }
        p.values.reset(f_.backend_alloc_ctx_tensors_from_buft(p.memory.get(), f_.backend_cpu_buffer_type()));
        if (!p.values) throw std::runtime_error("ggml has no memory");
        f_.backend_tensor_set(p.x, x, 0, n * static_cast<std::size_t>(w.cols) * sizeof(float));
        return p;
    }
    void run(const products& p, std::size_t matrix) const {
        if (f_.backend_graph_compute(backend_, p.graphs[matrix]) != 0) throw std::runtime_error("ggml's graph fails");
    }
    void read(const products& p, std::size_t matrix, std::span<float> y) const {
        f_.backend_tensor_get(p.y[matrix], y.data(), 0, y.size_bytes());
    }

private:
    static void* open(const std::filesystem::path& path) {
        void* const library = dlopen(path.c_str(), RTLD_NOW);
        if (library == nullptr) throw std::runtime_error(dlerror());
        return library;
    }
    /// What a build thinks of this machine; 0 when it cannot run here.
    static int score(const std::filesystem::path& path) {
        void* const library = dlopen(path.c_str(), RTLD_NOW);
        if (library == nullptr) return 0;
        const auto ask = reinterpret_cast<int (*)()>(dlsym(library, "ggml_backend_score"));
        return ask != nullptr ? ask() : 1;
    }
    static std::string best_variant(const std::filesystem::path& folder) {
        std::string best;
        int most = 0;
        const std::string stem = "libggml-cpu-";
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            const std::string name = entry.path().filename().string();
            if (!name.starts_with(stem) || !name.ends_with(".so")) continue;
            const int here = score(entry.path());
            if (here <= most) continue;
            most = here;
            best = name.substr(stem.size(), name.size() - stem.size() - 3);
        }
        if (best.empty()) throw std::runtime_error("no libggml-cpu-*.so for this machine in " + folder.string());
        return best;
    }

    [[nodiscard]] context open_context(std::size_t tensors) const {
        const std::size_t bytes = tensors * (f_.tensor_overhead() + f_.graph_overhead_custom(nodes, false) + 256);
        context c(f_.init({bytes, nullptr, true}), free_context{&f_});
        if (!c) throw std::runtime_error("ggml has no memory");
        return c;
    }
    [[nodiscard]] weights declare(int type, std::size_t rows, std::size_t cols, std::size_t count,
                                  std::string kind) const {
        weights w{std::move(kind), static_cast<std::int64_t>(cols), open_context(count + 4), {}, {}};
        for (std::size_t i = 0; i < count; ++i)
            w.matrices.push_back(f_.new_tensor_2d(w.memory.get(), type, w.cols, static_cast<std::int64_t>(rows)));
        return w;
    }
    [[nodiscard]] bool multiplies(const weights& w) const {
        const context c = open_context(4);
        const auto x = f_.new_tensor_2d(c.get(), f32, w.cols, 1);
        return f_.backend_dev_supports_op(device_, f_.mul_mat(c.get(), w.matrices[0], x));
    }
    /// Puts the matrices into one buffer of a kind; false where the kind does not take them.
    [[nodiscard]] bool repack(weights& w, g::buffer_type* kind, std::span<const std::span<std::byte>> matrices) const {
        const std::size_t each = (f_.backend_buft_get_alloc_size(kind, w.matrices[0]) + 63) / 64 * 64;
        buffer b(f_.backend_buft_alloc_buffer(kind, each * matrices.size()), free_buffer{&f_});
        if (!b) return false;
        auto* const base = static_cast<std::byte*>(f_.backend_buffer_get_base(b.get()));
        ask_for_huge_pages(base, each * matrices.size());
        w.buffers.push_back(std::move(b));
        for (std::size_t i = 0; i < matrices.size(); ++i) {
            f_.backend_tensor_alloc(w.buffers[0].get(), w.matrices[i], base + i * each);
            if (i == 0 && !multiplies(w)) return false;
            f_.backend_tensor_set(w.matrices[i], matrices[i].data(), 0, matrices[i].size());
        }
        return true;
    }
    /// The same pages as the weights that are not repacked.
    static void ask_for_huge_pages(void* base, std::size_t bytes) {
        const auto from = (reinterpret_cast<std::uintptr_t>(base) + 4095) / 4096 * 4096;
        madvise(reinterpret_cast<void*>(from), bytes, MADV_HUGEPAGE);
    }
    [[nodiscard]] std::vector<g::buffer_type*> extra_kinds() const {
        using list = g::buffer_type** (*)(g::device*);
        const auto ask =
            reinterpret_cast<list>(f_.backend_reg_get_proc_address(registry_, "ggml_backend_dev_get_extra_bufts"));
        std::vector<g::buffer_type*> kinds;
        if (ask == nullptr) return kinds;
        for (g::buffer_type** kind = ask(device_); kind != nullptr && *kind != nullptr; ++kind) kinds.push_back(*kind);
        return kinds;
    }

    std::string name_;
    g f_;
    g::reg* registry_ = nullptr;
    g::device* device_ = nullptr;
    g::backend* backend_ = nullptr;
    g::threads* pool_ = nullptr;
};

}  // namespace bench
