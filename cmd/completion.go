package cmd

import (
	"io"

	"github.com/spf13/cobra"
)

// completeWithoutPackage makes the completion script for bash work without the package bash-completion. Cobra's relies on one of
// that package's functions, and prints an error at each TAB where the package is missing.
func completeWithoutPackage(root, bash *cobra.Command) {
	bash.RunE = func(cmd *cobra.Command, _ []string) error {
		without, err := cmd.Flags().GetBool("no-descriptions")
		if err != nil {
			return err
		}
		if err := root.GenBashCompletionV2(cmd.OutOrStdout(), !without); err != nil {
			return err
		}
		_, err = io.WriteString(cmd.OutOrStdout(), bashWords)
		return err
	}
}

// bashWords replaces a function of cobra's script. Bash splits words at "=" and ":" as well; kl's flags and ports have both.
const bashWords = `
# kl: the same without the package bash-completion.
__kl_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    local i rest="${COMP_LINE:0:COMP_POINT}" word
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        if ((i == COMP_CWORD)); then
            word="${rest#"${rest%%[![:space:]]*}"}"
        fi
        if ((i > 0)) && [[ -n "$word" && "$rest" != [[:space:]]* ]]; then
            words[${#words[@]}-1]+="$word"
        else
            words+=("$word")
        fi
        rest="${rest#"${rest%%[![:space:]]*}"}"
        rest="${rest#"$word"}"
    done
    cword=$((${#words[@]} - 1))
    cur="${words[cword]}"
    prev=""
    if ((cword > 0)); then
        prev="${words[cword-1]}"
    fi
}
`
