#pragma once
// The way through a model: plan, hash the source, then tensor by tensor into the output, then the header.
#include "../common/output_place.hpp"
#include "journal.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "tensor_encoder.hpp"

inline double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// SHA-256 of each of a model's files.
inline std::vector<std::string> hash_files(const std::vector<model_file>& files) {
    std::uint64_t total = 0;
    for (const model_file& f : files) total += f.memory.bytes().size();
    progress_bar bar("hashing the source", total);
    std::vector<std::string> hashes;
    for (const model_file& f : files) {
        sha256 hash;
        descriptor(f.path, O_RDONLY).read(0, f.memory.bytes().size(), [&](std::span<const std::byte> bytes) {
            hash.add(bytes);
            bar.advance(bytes.size());
        });
        hashes.push_back(hash.hex());
    }
    return hashes;
}

/// error: an output would take the place of what is read
inline void check_outputs(const model& m, const options& o, std::size_t count) {
    std::vector<std::string> inputs;
    for (const model_file& f : m.files()) inputs.push_back(f.path);
    for (const std::string* more : {&o.imatrix, &o.tensor_type_file})
        if (!more->empty()) inputs.push_back(*more);
    for (const std::string& path : output_paths(o.output, count)) check_output(path, inputs);
    check_output(manifest_path(output_paths(o.output, count)[0]), inputs);
}

/// Encodes one tensor into its places in the files.
inline outcome write_tensor(const model& m, const planned_tensor& p, const std::vector<output_piece>& pieces,
                            tensor_encoder& encoder, const std::vector<descriptor>& files) {
    sha256 hash;
    std::uint64_t at = 0;
    const auto put = [&](std::size_t file, std::span<const std::byte> bytes) {
        hash.add(bytes);
        files[file].write(at, bytes);
        at += bytes.size();
    };
    outcome done;
    if (pieces.size() == 1) {
        at = pieces[0].at;
        done = encoder.encode(p, [&](std::span<const std::byte> bytes) { put(pieces[0].file, bytes); });
    } else {
        std::vector<std::byte> whole;
        done = encoder.encode(
            p, [&](std::span<const std::byte> bytes) { whole.insert(whole.end(), bytes.begin(), bytes.end()); });
        const auto parts = m.cut(p, std::move(whole));
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            at = pieces[i].at;
            put(pieces[i].file, parts[i]);
        }
    }
    done.sha256 = hash.hex();
    return done;
}

/// All tensors; those that an earlier run wrote are taken over.
inline std::vector<outcome> write_tensors(const model& m, const std::vector<planned_tensor>& plan,
                                          const output_layout& layout, const options& o,
                                          const std::vector<descriptor>& files, journal& log, report& table) {
    progress_bar bar("quantizing", m.bytes());
    tensor_encoder encoder(o.fit(), o.threads, [&](std::uint64_t bytes) { bar.advance(bytes); });
    std::vector<outcome> outcomes;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const auto start = std::chrono::steady_clock::now();
        const source_tensor& t = *plan[i].source;
        auto done = log.find(t.name, layout.pieces[i], files);
        const bool earlier = done.has_value();
        if (earlier) {
            bar.skip(t.data.size());
        } else {
            done = write_tensor(m, plan[i], layout.pieces[i], encoder, files);
            log.add(t.name, *done);
        }
        outcomes.push_back(*done);
        bar.clear();
        table.add(plan[i], *done, earlier, seconds_since(start));
    }
    return outcomes;
}

/// The files with the true manifest in the first one's header, in place of one of the same length.
inline std::vector<output_file> finished_files(const model& m, const std::vector<planned_tensor>& plan,
                                               const std::string& manifest, const output_layout& layout) {
    output_layout finished = m.lay_out(plan, manifest);
    for (std::size_t i = 0; i < layout.files.size(); ++i)
        if (finished.files[i].header.size() != layout.files[i].header.size() ||
            finished.files[i].size != layout.files[i].size)
            throw std::logic_error("the header's length changed");
    return std::move(finished.files);
}

/// All that decides about an output: a run with the same can go on where another stopped.
inline json task_of(const json& draft, const output_layout& layout, const options& o) {
    json task{{"output", std::filesystem::path(o.output).filename().string()},
              {"tool", draft["tool"]},
              {"source", draft["source"]},
              {"options", draft["options"]},
              {"imatrix", draft.value("imatrix", json())}};
    for (const output_file& f : layout.files) task["header"].push_back(sha256_of(f.header));
    return with_utf8(task);
}

/// Runs the plan in a folder of its own.
inline void work_on(const model& m, const std::vector<planned_tensor>& plan, output_layout& layout, const json& draft,
                    std::size_t room, const options& o, work_folder& work, journal& log, report& table) {
    std::vector<descriptor> files;
    for (std::size_t i = 0; i < layout.files.size(); ++i) {
        files.push_back(work.open("part-" + std::to_string(i + 1)));
        files[i].resize(layout.files[i].size);
    }
    table.head("SQNR dB", "      ms");
    const std::vector<outcome> outcomes = write_tensors(m, plan, layout, o, files, log, table);
    const json manifest = with_outcomes(draft, plan, outcomes);
    if (room != 0) layout.files = finished_files(m, plan, fill(manifest, room), layout);
    for (std::size_t i = 0; i < files.size(); ++i) files[i].write(0, layout.files[i].header);
    const std::vector<std::string> paths = output_paths(o.output, files.size());
    for (std::size_t i = 0; i < files.size(); ++i) work.keep(files[i], paths[i]);
    if (room != 0) write_file(manifest_path(paths[0]), with_header(manifest, layout.files[0].header).dump(1) + "\n");
}

/// Runs the plan.
inline void quantize_model(const model& m, const std::vector<planned_tensor>& plan, const options& o,
                           const imatrix_input* imatrix) {
    const auto start = std::chrono::steady_clock::now();
    report table(plan);
    if (imatrix != nullptr) report::importance(plan);
    report::rules(plan);
    report::requantized(plan);
    if (o.dry_run) {
        table.print(plan);
        table.substitutions(plan);
        return table.totals(m.bytes(), m.lay_out(plan, "").bytes(), 0);
    }
    output_layout layout = m.lay_out(plan, "");
    check_outputs(m, o, layout.files.size());
    const bool is_copy = std::ranges::none_of(plan, [](const planned_tensor& p) { return p.format.has_value(); });
    const json draft = describe(m.files(), hash_files(m.files()), o, imatrix, plan, layout);
    const std::string room = is_copy ? "" : longest_text(draft, plan);
    layout = m.lay_out(plan, room);

    const json task = task_of(draft, layout, o);
    work_folder work = begin_work(o.output, task, o.resume);
    try {
        journal log(work, task);
        work_on(m, plan, layout, draft, room.size(), o, work, log, table);
    } catch (const std::system_error&) {  // a full disk: what is done can be used
        work.leave();
        std::fprintf(stderr, "quantize: %s is kept; --resume goes on from there\n", printable(work.path()).c_str());
        throw;
    }
    table.substitutions(plan);
    table.totals(m.bytes(), layout.bytes(), seconds_since(start));
}
