#pragma once
// What a run has done so far, in the folder where its output grows: a line for the task, then one per tensor. A process
// that was killed leaves both behind, and one with the same task goes on where it stopped.
#include "../common/work_folder.hpp"
#include "manifest.hpp"

#include <fstream>

class journal {
public:
    /// Begins, or goes on where the folder has a journal. `task`: all that decides about the output.
    journal(const work_folder& work, const json& task) : path_(path_in(work.path())) {
        load();
        std::ofstream(path_, std::ios::trunc) << "";  // a last line that was cut short must not stay
        append(task);
        for (const json& line : lines_) append(line);
    }

    /// The task of a folder's journal; null where there is none: then the folder is not one of a run's.
    static json task_in(const std::string& folder) {
        std::ifstream in(path_in(folder));
        std::string text;
        json task = std::getline(in, text) ? parse_json(text) : json();
        return task.is_object() && task.contains("output") ? task : json();
    }

    /// The outcome of a tensor, if an earlier run wrote it and its bytes are still those.
    [[nodiscard]] std::optional<outcome> find(const std::string& name, const std::vector<output_piece>& pieces,
                                              const std::vector<descriptor>& files) const {
        for (const json& line : lines_) {
            if (line["name"] != utf8_text(name)) continue;
            const auto sums = [&](const char* key) {
                return qlib::sqnr{line[key][0].get<double>(), line[key][1].get<double>()};
            };
            outcome done{sums("sums"), sums("weighted"), line["sha256"]};
            sha256 hash;
            for (const output_piece& p : pieces)
                if (!files[p.file].read(p.at, p.bytes, [&](std::span<const std::byte> bytes) { hash.add(bytes); }))
                    return std::nullopt;
            if (hash.hex() == done.sha256) return done;
        }
        return std::nullopt;
    }
    void add(const std::string& name, const outcome& done) {
        append({{"name", name},
                {"sums", {done.sums.signal(), done.sums.noise()}},
                {"weighted", {done.weighted.signal(), done.weighted.noise()}},
                {"sha256", done.sha256}});
    }

private:
    static std::string path_in(const std::string& folder) { return folder + "/journal"; }
    void load() {
        std::ifstream in(path_);
        std::string text;
        std::getline(in, text);
        while (std::getline(in, text)) {
            json line = parse_json(text);
            if (!is_line(line)) return;
            lines_.push_back(std::move(line));
        }
    }
    static bool is_line(const json& line) {
        if (!line.is_object()) return false;
        const auto is_pair = [&](const char* key) {
            const json pair = line.value(key, json());
            return pair.size() == 2 && pair[0].is_number() && pair[1].is_number();
        };
        return line.contains("name") && line.value("sha256", json()).is_string() && is_pair("sums") &&
               is_pair("weighted");
    }
    void append(const json& line) const {
        std::ofstream out(path_, std::ios::app);
        out << with_utf8(line).dump() << '\n';
        if (!out.flush()) fail_with_errno(path_);
    }

    std::string path_;
    std::vector<json> lines_;
};

/// The first member of a task in which another differs; empty: none.
inline std::string first_difference(const json& other, const json& task) {
    for (const auto& [key, value] : task.items())
        if (other.value(key, json()) != value) return key;
    return "";
}

/// A place to work in: with `resume` that of an earlier run with the same task, if there is one. Without it, earlier
/// runs' for this output are done away with. error: another process is at it, or only other tasks can be gone on with.
inline work_folder begin_work(const std::string& output, const json& task, bool resume) {
    std::string difference;
    for (const std::string& path : work_folder::candidates(output)) {
        const json known = journal::task_in(path);
        if (known.is_null() || known["output"] != task["output"]) continue;  // not ours, whatever its name
        auto earlier = work_folder::take(path);
        if (!earlier) throw std::runtime_error(output + ": another process is writing it, in " + path);
        if (!resume) continue;  // and removed
        const std::string other = first_difference(known, task);
        if (other.empty()) return std::move(*earlier);
        earlier->leave();
        difference = path + ": it was begun with another " + other;
    }
    if (!difference.empty()) throw std::runtime_error(difference + "; without --resume it is begun anew");
    return work_folder(output);
}
